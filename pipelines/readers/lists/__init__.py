"""Text lists (CSV, TSV, JSON lines, ...): how they are laid out, where a record begins, what is in it."""
