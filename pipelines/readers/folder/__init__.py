"""Folders of images, and what belongs together by name."""
