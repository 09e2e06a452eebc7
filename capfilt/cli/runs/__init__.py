"""Commands that start runs, resume them and show their state."""
