"""Captioners: images in, captions out. One file a family."""
