"""`capfilt check`, a look before the run: what the inputs are, some rows, and what a sample says of the whole."""
