"""What one step learns from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import torch
from torch import Tensor

from capfilt.models.pixels import Box


@dataclass(frozen=True, slots=True)
class Batch:
    """B pairs, B being the rows of all workers together.

    Every worker knows all texts, which are small, and only its own images, which are not.
    """

    images: Tensor  # uint8 [b, S, S, 3], this worker's part; [b, S, S, 4] of a system that keeps shapes (`shaped`)
    texts: list[str]  # of all B
    wrong: list[list[str]] = field(default_factory=list)  # of all B: texts that people marked as wrong, 0 or more each
    keys: list[int] = field(default_factory=list)  # of all B: the same number = the same image; empty = all differ
    step: int = 0
    boxes: list[Box | None] = field(default_factory=list)  # of all B: what that a text is about, None = all of it


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """B questions about images, each with its answers and their weights."""

    images: Tensor  # uint8 [b, S, S, 3], this worker's part
    questions: list[str]  # of all B
    answers: list[list[tuple[str, float]]]  # of all B
    step: int = 0


@dataclass(frozen=True, slots=True)
class TalkBatch:
    """B talks about images: questions in their order, each with its answers and their weights."""

    images: Tensor  # uint8 [b, S, S, 3], this worker's part; [b, S, S, 4] of a system that keeps shapes (`shaped`)
    talks: list[list[tuple[str, list[tuple[str, float]]]]]  # of all B
    step: int = 0


def shaped(images: Tensor) -> list[Tensor]:
    """Images that keep their shape: uint8 [b, S, S, 4], whose last channel tells where there are any, -> [h, w, 3]."""
    return [
        image[: int((image[:, 0, 3] > 0).sum()), : int((image[0, :, 3] > 0).sum()), :3].contiguous() for image in images
    ]


def pair_codes(keys: Sequence[int], texts: Sequence[str]) -> Tensor:
    """int64 [B, 2]: the number of a pair's image (its place, without `keys`), and one for its text.

    Equal texts have equal numbers in every batch and process.
    """
    return torch.tensor([list(pair) for pair in zip(keys or range(len(texts)), map(_code, texts), strict=True)])


def _code(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def same_pairs(rows: Tensor, columns: Tensor) -> Tensor:
    """bool [R, C]: True where pair r and pair c have the same image or the same text, so are no negatives.

    Args:
        rows, columns: int64 [R, 2] and [C, 2], the numbers of a pair's image and of its text.
    """
    return (rows[:, :1] == columns[:, 0]) | (rows[:, 1:] == columns[:, 1])
