"""Score columns: what a judge of each family writes, and what a value means. The one place that says so, without torch.

A tag stands behind the name (`itm_TAG`, see `registry`), so a column of any run, old or new, tells its kind by name.
A judge of your own that writes probabilities names its column `itm` or `itm_SOMETHING`.
"""

from collections.abc import Mapping
from typing import Final, Literal

ScoreKind = Literal["probability", "cosine"]
"""`probability`: 0..1, of the text being right for the image; `cosine`: -1..1, of two embeddings."""

KINDS: Final[Mapping[str, ScoreKind]] = {
    "itm": "probability",  # softmax of an image-text matching head
    "itc": "cosine",  # image and text feature of the same model
    "clip": "cosine",  # two towers: CLIP, SigLIP, open_clip
}

MATCHING: Final = ("itm", "itc")
"""The columns of a judge with a matching head and two features: BLIP, BLIP-2, our own MED."""

COSINE: Final = ("clip",)
"""The column of a judge of two towers."""


def with_sentences(columns: tuple[str, ...]) -> tuple[str, ...]:
    """A judge's columns, and those of the lowest and the mean score of a text's sentences."""
    return (*columns, *(f"{column}_{part}" for column in columns for part in ("min", "mean")))


def kind_of(column: str) -> ScoreKind | None:
    """What a score in a column means; None for a column of a plug-in that is of no known name."""
    return KINDS.get(column.partition("_")[0])
