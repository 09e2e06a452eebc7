"""CLIP, SigLIP and other pairs of an image and a text tower as `transformers` has them: pixels and texts to features.

Judges and trainings read them through this one class, so that a text is cut and padded alike in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.formats.image_processor import read_normalizing_processor
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD, normalize


@dataclass(frozen=True, slots=True)
class DualEncoder:
    """A model of one of the classes `model_info.DUAL` with its tokenizer, and what its image tower wants of pixels."""

    model: Any
    tokenizer: Any
    mean: Sequence[float] = CLIP_MEAN
    std: Sequence[float] = CLIP_STD

    @classmethod
    def load(cls, folder: Path, device: str, dtype: torch.dtype) -> "DualEncoder":
        """The dual encoder of a directory.

        Raises:
            ModelError: a missing or broken file.
        """
        pixels = read_normalizing_processor(folder)
        tokenizer = load_part("AutoTokenizer", folder)
        return cls(load_model("AutoModel", folder, device, dtype), tokenizer, pixels["image_mean"], pixels["image_std"])

    def image_features(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> float32 [B, E] of length 1."""
        seen = normalize(images.to(self.model.device), self.model.dtype, self.mean, self.std)
        return F.normalize(self.model.get_image_features(pixel_values=seen).pooler_output.float(), dim=-1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """M texts -> float32 [M, E] of length 1."""
        words = self.words(texts)
        return F.normalize(self.model.get_text_features(**words).pooler_output.float(), dim=-1)

    def cuts(self, text: str) -> bool:
        """Whether words of a text find no place in the text tower."""
        places: int = self.model.config.text_config.max_position_embeddings
        return len(self.tokenizer(text)["input_ids"]) > places

    def words(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Ids int64 [M, T] and, where the model looks at it, the mask of what is text, on the model's device."""
        config = self.model.config
        # SigLIP was trained on texts padded to its full length, and sees the padding.
        padded = config.model_type == "siglip"
        words = self.tokenizer(
            list(texts),
            padding="max_length" if padded else True,
            truncation=True,
            max_length=config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        names = ("input_ids",) if padded else ("input_ids", "attention_mask")
        return {name: words[name].to(self.model.device) for name in names if name in words}
