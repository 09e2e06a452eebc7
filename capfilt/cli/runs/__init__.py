"""Commands that start a run, watch it and go on with it."""
