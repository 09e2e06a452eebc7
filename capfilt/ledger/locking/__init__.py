"""Who may write to the folder of a run: one driver at a time, on a disk and on a bucket."""
