"""MED, BLIP's mixture of encoder-decoder: one image transformer, one text transformer read three ways."""
