"""Q-Former, BLIP-2's bridge: learned queries that read a frozen image tower, for a frozen language model."""
