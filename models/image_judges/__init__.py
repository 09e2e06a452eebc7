"""Image judges: what can be told of an image without a text."""
