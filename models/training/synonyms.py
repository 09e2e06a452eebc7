"""Words that say the same of a picture, so that one in place of another is no mistake; English, by groups.

For `objectives.replace_tokens`: a fifth of the words it exchanged on drawn pictures were still right (small for tiny,
the for a), and taught that they are wrong.
"""

from typing import Final

from capfilt.models.tokenizer import Tokenizer

GROUPS: Final = tuple(
    frozenset(line.split())
    for line in (
        "a an the this that one some another",
        "small tiny little mini miniature",
        "big large huge giant enormous great",
        "picture photo photograph image",
        "man guy gentleman male",
        "woman lady female",
        "person someone human individual",
        "child kid youngster",
        "dog hound",
        "children kids",
        "bike bicycle",
        "motorcycle motorbike",
        "car automobile vehicle",
        "couch sofa",
        "street road",
        "forest woods",
        "stone rock",
        "ocean sea",
        "grey gray",
        "backdrop background",
        "beside by near alongside next",
        "above over",
        "below beneath under underneath",
        "on upon atop",
        "in inside within",
        "through across",
        "runs run running",
        "jumps jump jumping leaps leaping",
        "walks walk walking strolls strolling",
        "holds holding carrying carries",
        "watches watching looks looking",
    )
)


def meanings(tokenizer: Tokenizer) -> dict[int, int]:
    """The group of every token that is a whole word of one."""
    words = tokenizer.backend.get_vocab()
    return {words[word]: number for number, group in enumerate(GROUPS) for word in group if word in words}
