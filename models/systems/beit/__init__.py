"""BEiT: an image tower that learns to name the visual tokens of hidden patches (Bao et al. 2021, arXiv 2106.08254)."""
