"""How an image and words stand in a row of tokens, in training and when captions are written. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

IMAGE: Final = "<image>"
"""The word that the patches of an image stand for."""
IGNORED: Final = -100
"""The label of what is not learned."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What stands before the words that are learned."""

    before: str  # an image, and the prompt or question in braces
    template: str  # the same as a chat template of jinja, for `transformers`

    def prefix(self, question: str = "") -> str:
        """The text before what is learned."""
        return self.before.replace("{}", question)


_WALK: Final = (
    "{%% for message in messages %%}{%% set words = message['content'] | selectattr('type', 'equalto', 'text') "
    "| map(attribute='text') | join(' ') %%}{%% if message['role'] == 'assistant' %%} {{ words }}{{ eos_token }}"
    "{%% else %%}%s{{ words }}%s{%% endif %%}{%% endfor %%}"
)
PLAIN: Final = Turn(f"{IMAGE}{{}}", _WALK % (IMAGE, ""))
"""Stage 1: nothing but the image."""
TALK: Final = Turn(f"USER: {IMAGE}\n{{}} ASSISTANT:", _WALK % (f"USER: {IMAGE}\n", " ASSISTANT:"))
"""Stage 2: a question, as Vicuna reads it."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Tokens of a row, and which are learned (`IGNORED` elsewhere)."""

    ids: list[int]
    labels: list[int]


def row(words: Any, prefix: str, told: list[int], patches: int) -> TokenRow:
    """A prefix, whose image takes as many tokens as it has patches, and what is learned, as ids.

    Pieces are put together as ids: a tokenizer may read the whole otherwise than its parts, and then labels would slip.

    Args:
        words: a tokenizer of `transformers` that knows `IMAGE`.
    """
    given = list(words(prefix.replace(IMAGE, IMAGE * patches))["input_ids"])
    return TokenRow([*given, *told], [IGNORED] * len(given) + told)


def padded(rows: Sequence[TokenRow], pad: int) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """ids, labels and mask of rows, as long as the longest."""
    longest = max(len(one.ids) for one in rows)
    ids = [one.ids + [pad] * (longest - len(one.ids)) for one in rows]
    labels = [one.labels + [IGNORED] * (longest - len(one.labels)) for one in rows]
    return ids, labels, [[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in rows]
