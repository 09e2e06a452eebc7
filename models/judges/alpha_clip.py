"""Alpha-CLIP as a judge: a text is compared with the part of the image that it is about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.judges.alpha_encoder import AlphaEncoder
from capfilt.models.judges.pairs import flatten, fold
from capfilt.models.pixels import Box
from capfilt.models.runtime import Placement

AT_ONCE: Final = 64
"""Images with a box each that go through the tower together."""


class AlphaClipJudge:
    """`clip` = the cosine of the feature of an image under a mask and that of the text, -1..1."""

    def __init__(self, info: ModelInfo, digest: str, placement: Placement) -> None:
        self.name = Path(info.name).name
        self.digest = digest
        self.pixels = info.pixels
        self.columns = info.columns
        self.encoder = AlphaEncoder.load(info.folder, *placement.resolve())

    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """Cosines of every text with the whole of its image."""
        return self.score_regions(images, texts, [[None] * len(own) for own in texts])

    @torch.inference_mode()
    def score_regions(
        self, images: Tensor, texts: list[list[str]], boxes: list[list[Box | None]]
    ) -> dict[str, list[list[float]]]:
        """See `protocols.RegionJudge`; an image goes through its tower once a box."""
        flat, places = flatten(texts)
        if not flat:
            return {column: [[] for _ in texts] for column in self.columns}
        looks = [(image, None if box is None else tuple(box)) for image, own in enumerate(boxes) for box in own]
        different = list(dict.fromkeys(looks))
        parts = [
            self.encoder.image_features(images[[image for image, _ in some]], [box for _, box in some])
            for some in (different[start : start + AT_ONCE] for start in range(0, len(different), AT_ONCE))
        ]
        number = {look: place for place, look in enumerate(different)}
        image = torch.cat(parts)[[number[look] for look in looks]]
        cosines = (image * self.text_features(flat)[places]).sum(-1)
        return {column: fold(cosines, texts) for column in self.columns}

    def image_features(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3], seen whole -> [B, E] of length 1."""
        return self.encoder.image_features(images, [None] * len(images))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """M texts -> [M, E] of length 1."""
        return self.encoder.dual.text_features(texts)
