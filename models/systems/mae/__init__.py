"""Masked autoencoder: an image tower learned from images alone (He et al. 2021, arXiv 2111.06377).

- DATA is the `images/` of a run, or any Parquet with a column `image`: images whose texts were all dropped count too.
- Others start from it: `capfilt train med ... --size med-tiny-patch --set model.vision=DIR`, and likewise `lit`, `beit`
  and `llava`. A MED of the same shape takes it to within 2e-5; that it learns better from it was not measured.
- `masking.norm=true` rebuilds normalized patches: for photos. On flat drawings that is the noise of flat patches.
- `ViTMAEForPreTraining` of `transformers` loads the checkpoint.
"""
