"""Captioners: images in, captions out."""

import torch
from torch import Tensor

from capfilt.models.med.model import MED
from capfilt.models.pixels import PixelSpec
from capfilt.models.preprocess import normalise
from capfilt.models.protocols import Caption
from capfilt.models.sampling import Decoding, sample, uniforms
from capfilt.models.tokenizer import SEP, Tokenizer


class MedCaptioner:
    """The image-grounded decoder of a MED."""

    def __init__(self, name: str, digest: str, model: MED, tokenizer: Tokenizer) -> None:
        self.name = name
        self.digest = digest
        self.pixels = PixelSpec(model.config.image_size, "squash")
        self.model = model
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def caption(self, images: Tensor, seeds: list[list[int]], prompt: str, decoding: Decoding) -> list[list[Caption]]:
        """As many captions of each image as it has seeds (the same number for all)."""
        weight = self.model.vision.norm.weight
        n = len(seeds[0]) if seeds else 0
        if n == 0:
            return [[] for _ in seeds]
        states = self.model.see(normalise(images.to(weight.device), weight.dtype))
        draws = uniforms([seed for row in seeds for seed in row], decoding.max_tokens).to(weight.device)
        start, stop = self.tokenizer.prompt(prompt), self.tokenizer.ids[SEP]
        ids, logprob = sample(self.model, self.model.text.look(states), start, stop, draws, decoding)
        texts = [self.tokenizer.decode(row) for row in ids.tolist()]
        captions = [Caption(text, value) for text, value in zip(texts, logprob.tolist(), strict=True)]
        return [captions[first : first + n] for first in range(0, len(captions), n)]
