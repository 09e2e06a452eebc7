"""Pieces that several systems are built of: words, image towers, folders as `transformers` writes them."""
