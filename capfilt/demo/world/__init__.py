"""A little world of drawn images whose whole truth is known: what `capfilt demo` learns from and is judged by.

An image shows one or two things on a plain ground, such as a small red circle to the left of a large blue square on a
white background. Its `Scene` is the truth, `render` the image, `describe` the canonical caption, from which the truth
can be read back. `web_rows` pairs images with text as the web has it, about half of it wrong.

The rule: a text is right for an image if and only if it is one complete phrase of the world's little language and
every statement it makes is true of the image. It may leave things out. `is_right(text, truth)` decides it from the
canonical caption alone, for any string; the grammar stands in `capfilt.demo.world.language`.
"""

from capfilt.demo.world.boilerplate import boilerplate
from capfilt.demo.world.language import (
    Claims,
    Mention,
    brief,
    describe,
    half_sentence,
    is_right,
    other_caption,
    paraphrase,
    parse,
    partial,
    wrong_detail,
    wrong_texts,
)
from capfilt.demo.world.pairs import AnnotatedPair, annotated_pairs, jpeg
from capfilt.demo.world.scene import (
    BACKGROUNDS,
    COLORS,
    RELATIONS,
    SHAPES,
    SIZES,
    BoundingBox,
    Scene,
    Thing,
    layout,
    random_scene,
    render,
)
from capfilt.demo.world.web import WebRow, web_rows

__all__ = [
    "BACKGROUNDS",
    "COLORS",
    "RELATIONS",
    "SHAPES",
    "SIZES",
    "AnnotatedPair",
    "BoundingBox",
    "Claims",
    "Mention",
    "Scene",
    "Thing",
    "WebRow",
    "annotated_pairs",
    "boilerplate",
    "brief",
    "describe",
    "half_sentence",
    "is_right",
    "jpeg",
    "layout",
    "other_caption",
    "paraphrase",
    "parse",
    "partial",
    "random_scene",
    "render",
    "web_rows",
    "wrong_detail",
    "wrong_texts",
]
