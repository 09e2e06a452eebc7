"""Layers of a run: the rows that annotators are shown, and what they say of them."""
