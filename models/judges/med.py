"""The two encoders of BLIP and of our own MED as a judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.formats.weights import load_placed
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.pixels import PixelSpec
from capfilt.models.runtime import Placement
from capfilt.models.score_columns import MATCHING
from capfilt.models.tokenizer import CLS, ENC, Tokenizer

MAX_TOKENS = 35
"""Tokens of a text that ITM and ITC look at (BLIP's retrieval code)."""


class MedJudge:
    """The two encoders of a MED: `itm` = softmax of the matching head, `itc` = cosine of the two features.

    `first` is the first token of the ITM reading: [ENC] as in the paper, or [CLS], which some published code uses by
    oversight and whose scores differ.
    """

    columns = MATCHING

    def __init__(self, name: str, digest: str, model: MED, tokenizer: Tokenizer, first: Literal["enc", "cls"]) -> None:
        self.name = name
        self.digest = digest
        self.pixels = PixelSpec(model.config.image_size, "squash")
        self.model = model
        self.tokenizer = tokenizer
        self.first = {"enc": ENC, "cls": CLS}[first]

    @torch.inference_mode()
    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """Scores of every text of every image: {"itm": probabilities in 0..1, "itc": cosines in -1..1}."""
        most = max((len(row) for row in texts), default=0)
        if most == 0:
            return {name: [[] for _ in texts] for name in self.columns}
        states = self.encode_image(images)
        # Filled up with empty texts, for the texts of an image lie side by side on its query axis.
        flat = [text for row in texts for text in (*row, *[""] * (most - len(row)))]
        itm, itc = self._match(states, flat), self._cosine(states, flat, most)
        return {"itm": _ragged(itm, texts, most), "itc": _ragged(itc, texts, most)}

    def cuts(self, text: str) -> bool:
        """See `protocols.TruncatingJudge`."""
        return self.tokenizer.is_cut(text, MAX_TOKENS)

    def image_features(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> ITC features [B, E] of length 1."""
        return self.model.image_feature(self.encode_image(images))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """M texts -> ITC features [M, E] of length 1."""
        device = self.model.vision.norm.weight.device  # published weights have no temperature
        ids, mask = self.tokenizer.encode(texts, CLS, MAX_TOKENS)
        return self.model.text_feature(ids.to(device), mask.to(device))

    def encode_image(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> states of the image tower [B, N, D]."""
        weight = self.model.vision.norm.weight
        return self.model.encode_image(normalize(images.to(weight.device), weight.dtype))

    def _match(self, states: Tensor, flat: list[str]) -> Tensor:
        ids, mask = self.tokenizer.encode(flat, self.first, MAX_TOKENS)
        logits = self.model.itm_logits(
            ids.to(states.device), mask.to(states.device), self.model.text.project_image_kv(states)
        )
        return logits.float().softmax(-1)[:, 1]

    def _cosine(self, states: Tensor, flat: list[str], most: int) -> Tensor:
        texts = self.text_features(flat)
        images = self.model.image_feature(states).repeat_interleave(most, 0)
        return (texts * images).float().sum(-1)


def _ragged(scores: Tensor, texts: list[list[str]], most: int) -> list[list[float]]:
    """[B * most] -> one list an image, as long as its texts."""
    return [row[: len(own)] for row, own in zip(scores.view(-1, most).tolist(), texts, strict=True)]


def load_judge(info: ModelInfo, digest: str, placement: Placement) -> MedJudge:
    """The judge of a checkpoint."""
    model, tokenizer = load_placed(info.folder, placement, for_captioning=False)
    return MedJudge(Path(info.name).name, digest, model, tokenizer, placement.token)
