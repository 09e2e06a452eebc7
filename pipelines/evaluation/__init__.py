"""How good models are on pictures with known texts: captions, matching, retrieval, and how much words vary."""
