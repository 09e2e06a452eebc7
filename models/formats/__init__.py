"""Checkpoint directories: what is in one, and how its weights, tokenizer and pixel settings are read."""
