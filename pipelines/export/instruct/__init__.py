"""Instruction data: talks about the kept images, written by a language model."""
