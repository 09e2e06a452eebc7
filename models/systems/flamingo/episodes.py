"""How images and texts stand in a row of tokens: as the processor of Idefics has them. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from capfilt.models.systems.parts.language_info import IGNORED

AROUND: Final = "<fake_token_around_image>"
IMAGE: Final = "<image>"
MARKS: Final = (AROUND, IMAGE)
"""Words that the model has beside those of its language model, in the order of their ids."""


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """Tokens of an episode; of each its label (`IGNORED` = not learned) and the number of the image it sees, or -1."""

    ids: list[int]
    labels: list[int]
    sees: list[int]


def episode(words: Any, texts: Sequence[list[int]]) -> EpisodeRow:
    """Images, each with its text behind it, which alone is learned.

    Args:
        words: a tokenizer of `transformers` that knows `MARKS`.
        texts: of each image, as ids.
    """
    around, image = words.convert_tokens_to_ids(list(MARKS))
    made = EpisodeRow([words.bos_token_id], [IGNORED], [-1])
    for number, told in enumerate(texts):
        made.ids.extend([around, image, around, *told])
        made.labels.extend([IGNORED] * 3 + told)
        # The processor counts from the image's own token on, so what opens it still sees nothing.
        made.sees.extend([-1] + [number] * (2 + len(told)))
    return made


def in_episodes(lengths: Sequence[int], images: int) -> list[list[int]]:
    """Numbers of rows, so many an episode, those of about equal lengths together; the last one may have fewer."""
    order = range(len(lengths)) if images == 1 else sorted(range(len(lengths)), key=lengths.__getitem__)
    return [list(order[first : first + images]) for first in range(0, len(lengths), images)]
