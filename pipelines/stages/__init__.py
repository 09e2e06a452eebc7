"""The stages of a run, in order: read, fetch, decode, caption, score, commit. Plain functions on tables."""
