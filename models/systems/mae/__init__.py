"""Masked autoencoder: an image tower learned from images alone (He et al. 2021, arXiv 2111.06377)."""
