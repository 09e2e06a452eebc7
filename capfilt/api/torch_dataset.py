"""The kept pairs of a run as PyTorch reads them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch.utils.data import IterableDataset, get_worker_info

from capfilt.api.datasets import Pairs
from capfilt.core.config import DecodeSettings
from capfilt.pipelines.imaging.image_file import load_image, read_header
from capfilt.pipelines.imaging.pillow import pillow_rules

Transform = Callable[[Image], Any]


class CorpusDataset(IterableDataset[dict[str, Any]]):
    """See `Run.to_torch`. Each worker of a DataLoader reads chunks of its own."""

    def __init__(self, pairs: Pairs, transform: Transform | None = None) -> None:
        self.pairs = pairs
        self.transform = transform or to_tensor

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        chunks = self.pairs.chunks[worker.id :: worker.num_workers] if worker else self.pairs.chunks
        for row in self.pairs.rows(chunks):
            yield {**row, "image": self.transform(decoded(row["image"]["bytes"], self.pairs.max_pixels))}


def decoded(data: bytes, max_pixels: int) -> Image:
    """An image as the run decoded it: upright, RGB, on white; of an animation the first frame."""
    settings = DecodeSettings(max_pixels=max_pixels)
    with pillow_rules(max_pixels):
        file = read_header(data, settings)
        return load_image(file, data, settings, min(file.size)).image


def to_tensor(image: Image) -> torch.Tensor:
    """uint8 [3, height, width]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
