"""Folders of pictures, and what belongs together by name."""
