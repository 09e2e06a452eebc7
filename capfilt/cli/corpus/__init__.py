"""Commands that ask, decide and export what a run wrote."""
