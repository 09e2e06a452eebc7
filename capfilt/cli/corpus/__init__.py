"""Commands that query, select and export the results of a run."""
