"""From what a file holds to rows: columns, references, the table of a part, and what a reader is."""
