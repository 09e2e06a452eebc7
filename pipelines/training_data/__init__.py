"""A corpus as training reads it."""
