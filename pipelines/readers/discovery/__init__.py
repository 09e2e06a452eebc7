"""From INPUT arguments to input files, and to what is left out and why."""
