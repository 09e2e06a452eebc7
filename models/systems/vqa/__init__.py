"""Visual question answering on a MED (BLIP, section 5.4)."""
