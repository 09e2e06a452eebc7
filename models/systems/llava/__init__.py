"""LLaVA: a language model that reads an image's patches as words (Liu et al. 2023, arXiv 2304.08485 and 2310.03744)."""
