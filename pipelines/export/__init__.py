"""Exports: the kept pairs of a run in the forms that the ecosystem reads with no code of ours.

- `export`: what all formats have in common: shards, one after the other, resumable, with a record in the run
- one file a format (`parquet`, `webdataset`, ...): a new one is a class and a line in `FORMATS`
- `instruct`: LLaVA's three instruction forms, written by a language model behind any OpenAI-compatible endpoint
- `card`, `croissant`: what the data set says of itself, to people and to programs
"""
