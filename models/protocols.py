"""The seams of capfilt: who can caption is a captioner, who scores texts a judge, who describes images an image judge.

Images come as uint8 tensors, made as the model's own `pixels` asks. A newcomer writes one class and one line in
`registry`; a person's own class is named `python:MODULE:CLASS` and needs no line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from capfilt.models.pixels import Box, PixelSpec

ImageInput = Tensor | list[Tensor]
"""[B, S, S, 3]; where `pixels.mode` is `fit`, a list of B tensors [height, width, 3]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How captions are found. Lengths count the tokens after the prompt, the closing [SEP] included.

    BLIP's published limits, 5 and 20, count the four tokens of its prompt too: here they are 2 and 16.
    """

    beams: int = 0  # searched for by so many beams, where the captioner can; 0 = drawn
    top_p: float = 0.9
    top_k: int = 0  # drawn from so many likeliest tokens at most; 0 = any
    temperature: float = 1.0
    repetition_penalty: float = 1.0  # logits of tokens said before, prompt included: divided by it, times it below 0
    max_tokens: int = 30
    min_tokens: int = 5


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption, and its log-probability under the captioner (natural log, summed over its tokens)."""

    text: str
    logprob: float | None  # None where a server does not tell
    flags: tuple[str, ...] = ()  # what only the captioner can know: `cut` (no room left), `refused`


class Captioner(Protocol):
    """Writes captions."""

    name: str
    digest: str  # which weights: 12 hex digits
    pixels: PixelSpec

    def caption(
        self, images: ImageInput, seeds: list[list[int]], prompt: str, decoding: Decoding
    ) -> list[list[Caption]]:
        """As many captions of each image as it has seeds; the same seed gives the same caption in any company."""
        ...


class Judge(Protocol):
    """Scores texts against images; higher means a better match."""

    name: str
    digest: str
    pixels: PixelSpec
    columns: tuple[str, ...]  # the scores it gives, e.g. ("itm", "itc")

    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """One score a column, image and text; an image may have any number of texts, none included."""
        ...


class ImageJudge(Protocol):
    """Tells facts about images, without any text."""

    name: str
    digest: str
    pixels: PixelSpec
    columns: Mapping[str, str]  # name -> type: float, int32, bool, string, list<string>; halffloat[N] of an embedding

    def describe(self, images: ImageInput) -> dict[str, list[Any]]:
        """One value a column and image; None where it cannot tell."""
        ...


@runtime_checkable
class TruncatingJudge(Protocol):
    """What a judge has besides that reads the first tokens of a text only, and can tell."""

    def cuts(self, text: str) -> bool:
        """Whether it leaves words of a text unread."""
        ...


@runtime_checkable
class RegionJudge(Protocol):
    """What a judge has besides that can look at the part of an image that a text is about."""

    def score_regions(
        self, images: Tensor, texts: list[list[str]], boxes: list[list[Box | None]]
    ) -> dict[str, list[list[float]]]:
        """As `Judge.score`, with a box for every text in shares of the pixels; None = the whole image."""
        ...
