"""Judges: an image and its texts in, a score a text out. One file a family."""
