"""How good models are on images with known texts: captions, matching, retrieval, and how much words vary."""
