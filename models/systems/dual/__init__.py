"""Dual encoders: CLIP, FLIP, SigLIP and LiT, which differ in loss, dropped patches and a locked image tower."""
