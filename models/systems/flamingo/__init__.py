"""Flamingo: a frozen language model that reads images through new layers (Alayrac et al. 2022, arXiv 2204.14198).

- A resampler makes a few states of an image; gated cross-attention before the language model's layers reads them. The
  gates start shut, so training starts from the language model as it is, and never changes a weight of it.
- `model.vision` is a CLIP, such as `train clip` or `train flip` leaves; `model.language` a Llama without grouped heads;
  `demo-language` ships.
- Train with `flamingo.images=1` first; a second training, `--start` the first, with 3 or more learns to go on from
  examples. The texts of an episode are about equally long, so that examples tell the length.
- In a run it captions by example: `caption.shots=FILE`. `IdeficsForVisionText2Text` of `transformers` loads the
  checkpoint.
"""
