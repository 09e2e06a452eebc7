"""Pixels of all photographs, and the frozen tower's features of them, which are computed once and kept in a file."""

from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from material import Photo, write
from torch import Tensor

from capfilt.models.formats.timm_tower import load_timm
from capfilt.models.med import frozen_tower
from capfilt.models.med.frozen_tower import FrozenFeatures
from capfilt.models.normalize import normalize
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.training_data.pairs import Wanted, load_pairs
from capfilt.pipelines.training_data.pixel_store import Pixels

TOWER: Final = "timm:tf_efficientnet_lite0"
SIDE: Final = 128
BATCH: Final = 8
"""Photographs that go through the tower together: one at a time takes twice the time, 32 as long as 8."""


class SharedFeatures(FrozenFeatures):
    """All models of this process have one memory of features, in evaluation as well.

    The product's own remembers for one training; this bench trains and measures a dozen models of the same photographs.
    """

    shared: ClassVar[dict[bytes, Tensor]] = {}

    def __call__(self, pixels: Tensor, keep: bool) -> Tensor:
        self.kept = self.shared
        return super().__call__(pixels, keep=True)

    @torch.no_grad()
    def fill(self, pixels: Tensor) -> None:
        """Compute the features of a batch together."""
        self.shared |= zip(map(self.key, pixels), self._compute(pixels).split(1), strict=True)


frozen_tower.FrozenFeatures = SharedFeatures  # type: ignore[misc]  # what load_timm makes


def read_pixels(photos: list[Photo], folder: Path) -> Pixels:
    """uint8 [N, S, S, 3], decoded as training decodes them; their features are computed, or read, on the way."""
    table, decoded, file = folder / "photos.parquet", folder / "pixels.npy", folder / "features.pt"
    if file.is_file():
        SharedFeatures.shared |= torch.load(file, weights_only=True)
        found: Pixels = np.load(decoded)
        return found
    write(table, photos, [(place, [("a", "web")]) for place in range(len(photos))])
    pixels = load_pairs([str(table)], Wanted(pixels=PixelSpec(SIDE, "squash"))).held
    assert pixels is not None
    np.save(decoded, pixels)
    features = load_timm(TOWER, SIDE).features
    assert isinstance(features, SharedFeatures)
    for start in range(0, len(pixels), BATCH):
        features.fill(tensor(pixels[start : start + BATCH]))
    torch.save(SharedFeatures.shared, file)
    return pixels


def tensor(pixels: Pixels) -> Tensor:
    """As a tower takes them."""
    return normalize(torch.from_numpy(pixels), torch.float32)


def means(pixels: Pixels) -> Tensor:
    """The mean feature of each photograph, of length 1: for the nearest neighbor."""
    features = load_timm(TOWER, SIDE).features
    parts = np.array_split(pixels, -(-len(pixels) // 64))
    return torch.nn.functional.normalize(torch.cat([features(tensor(p), keep=True).mean(1) for p in parts]), dim=1)
