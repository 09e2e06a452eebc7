"""What the commands do, without a terminal: run, retry, query, calibrate, jobs of a Ray cluster."""
