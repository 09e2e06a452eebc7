"""Examples for captioners that learn from a few images with captions: `caption.shots`."""
