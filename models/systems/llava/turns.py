"""How an image and words stand in a row of tokens, in training and when captions are written. Free of torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from capfilt.models.systems.parts.language_info import IGNORED

IMAGE: Final = "<image>"
"""The word that the patches of an image stand for."""


Said = Sequence[tuple[str, list[int]]]
"""What stands in a row: a text that is given and ids that are learned behind it, once or more often."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What stands before the words that are learned."""

    before: str  # an image, and the prompt or question in braces
    again: str  # the same where there was an image before
    template: str  # the same as a chat template of jinja, for `transformers`

    def prefix(self, question: str = "", first: bool = True) -> str:
        """The text before what is learned."""
        return (self.before if first else self.again).replace("{}", question)


def _turn(before: str, shown: str, after: str) -> Turn:
    """A turn of three parts, of which the second shows an image, and the question before the last."""
    template = (
        "{% for message in messages %}{% set words = message['content'] | selectattr('type', 'equalto', 'text') "
        "| map(attribute='text') | join(' ') %}"
        "{% if message['role'] == 'assistant' %} {{ words }}{{ eos_token }}{% else %}"
        f"{before}{{% if message['content'] | selectattr('type', 'equalto', 'image') | list %}}{shown}{{% endif %}}"
        f"{{{{ words }}}}{after}{{% endif %}}{{% endfor %}}"
    )
    return Turn(f"{before}{shown}{{}}{after}", f"{before}{{}}{after}", template)


PLAIN: Final = _turn("", IMAGE, "")
"""Stage 1: nothing but the image."""
TALK: Final = _turn("USER: ", f"{IMAGE}\n", " ASSISTANT:")
"""Stage 2: a question, as Vicuna reads it."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Tokens of a row, and which are learned (`IGNORED` elsewhere)."""

    ids: list[int]
    labels: list[int]


def row(words: Any, said: Said, patches: int) -> TokenRow:
    """What is given and what is learned, as ids; the image takes as many tokens as it has patches.

    Pieces are put together as ids: a tokenizer may read the whole otherwise than its parts, and then labels would slip.

    Args:
        words: a tokenizer of `transformers` that knows `IMAGE`.
    """
    made = TokenRow([], [])
    for text, told in said:
        given = given_ids(words, text.replace(IMAGE, IMAGE * patches), not made.ids)
        made.ids.extend([*given, *told])
        made.labels.extend([IGNORED] * len(given) + told)
    return made


def given_ids(words: Any, text: str, first: bool) -> list[int]:
    """A given text as ids, with what a tokenizer puts before a row where it is the first one."""
    return list(words(text, add_special_tokens=first)["input_ids"])


def padded(rows: Sequence[TokenRow], pad: int) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """ids, labels and mask of rows, as long as the longest."""
    longest = max(len(one.ids) for one in rows)
    ids = [one.ids + [pad] * (longest - len(one.ids)) for one in rows]
    labels = [one.labels + [IGNORED] * (longest - len(one.labels)) for one in rows]
    return ids, labels, [[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in rows]
