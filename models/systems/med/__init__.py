"""MED: pretraining, captioner and filter (BLIP, section 3)."""
