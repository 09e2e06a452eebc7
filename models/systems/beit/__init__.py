"""BEiT: an image tower that learns to name the visual tokens of hidden patches (Bao et al. 2021, arXiv 2106.08254).

- DATA is the `images/` of a run, or any Parquet with a column `image`.
- Visual tokens are groups of the patch features of `codebook.teacher`: a CLIP, a ViT, a MAE or a MED with a plain stem,
  with as many patches an image. They are learned over the first `codebook.learned` steps, and stored in
  codebook.safetensors. The progress line tells the share of tokens in use and of hidden patches named right.
- Positions are absolute ones, where the paper has relative ones, so that other systems take the tower as a plain ViT.
- `BeitForMaskedImageModeling` of `transformers` loads the checkpoint.
"""
