"""Q-Former: BLIP-2 in two stages."""
