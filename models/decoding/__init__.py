"""How captions are drawn: nucleus sampling, beam search, recorded CUDA graphs."""
