"""From a name or a directory to a model."""
