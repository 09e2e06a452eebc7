"""Rows out of every file, and never fetched again."""
