"""What trainings learn from: the tiny MED and the annotated pictures of `tests/support/tiny_models/tiny_med.py`."""

from tiny_med import images, med, pairs_file, shape, strong, tokenizer

__all__ = ["images", "med", "pairs_file", "shape", "strong", "tokenizer"]
