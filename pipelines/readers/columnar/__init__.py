"""Columnar files (Parquet, Arrow, ORC): lists of URLs or paths, and image bytes."""
