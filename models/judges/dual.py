"""CLIP, SigLIP and dual encoders of two towers as `transformers` saves them, as a judge."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.judges.dual_encoder import DualEncoder
from capfilt.models.judges.pairs import cosines
from capfilt.models.runtime import Placement


class DualJudge:
    """`clip` = the cosine of the image's and the text's feature, -1..1."""

    def __init__(self, info: ModelInfo, digest: str, placement: Placement) -> None:
        self.name = Path(info.name).name
        self.digest = digest
        self.pixels = info.pixels
        self.columns = info.columns
        self.encoder = DualEncoder.load(info.folder, *placement.resolve())
        self.model = self.encoder.model

    @torch.inference_mode()
    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """See `pairs.cosines`."""
        found = cosines(self, images, texts)
        return {column: found for column in self.columns}

    def cuts(self, text: str) -> bool:
        """See `protocols.TruncatingJudge`."""
        return self.encoder.cuts(text)

    def image_features(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> [B, E] of length 1."""
        return self.encoder.image_features(images)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """M texts -> [M, E] of length 1."""
        return self.encoder.text_features(texts)
