"""Regions: texts about a part of their image, and how data sets write the box around it.

| written as | numbers | by |
|---|---|---|
| `box`: [left, top, right, bottom] | shares of the image's width and height, 0..1 | `corpus/` of a run |
| `bbox`: [x, y, width, height] | pixels | COCO |
| `x`, `y`, `width`, `height` | pixels | Visual Genome |
| `ref_exps`: [[start, end, left, top, right, bottom, score], ...] | places in the caption, and shares | GRIT |

Pixels are those of the record's own `width` and `height` where it has them, else of the image as it is decoded.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from capfilt.core.chunks import Json

GRIT: Final = "ref_exps"
"""GRIT's column of phrases with boxes."""

SHARES: Final = (1.0, 1.0)
"""The frame of a box in shares."""

_SIZE: Final = ("width", "height")
PLACES: Final = ("box", "bbox", *_SIZE, GRIT)
"""Columns of a list that say which part of the image its text is about."""

_LARGEST: Final = 1e6
"""No pixel has a larger number."""


@dataclass(frozen=True, slots=True)
class Region:
    """A text about a part of its image."""

    text: str
    box: tuple[float, ...]  # left, top, right, bottom; () = what the data says is no box
    frame: tuple[float, ...] | None = None  # width and height of the image in the box's unit; None = its pixels


Text = str | Region
"""A text about the whole image, or about a part of it."""


def box_in(value: Mapping[str, Any]) -> Region | None:
    """The box that an object holds beside its text, as a region without text; None where it holds none."""
    if value.get("box") is not None:
        return Region("", _numbers(value["box"], 4), SHARES)
    if value.get("bbox") is not None:
        return Region("", _corners(_numbers(value["bbox"], 4)))
    if all(isinstance(value.get(name), (int, float)) for name in ("x", "y", *_SIZE)):
        return Region("", _corners(_numbers([value[name] for name in ("x", "y", *_SIZE)], 4)))
    return None


def own_box(record: Mapping[str, Any]) -> Region | None:
    """The box of a record that has one text: four numbers; a list of boxes belongs to no text in particular."""
    boxes = {name: record[name] for name in ("box", "bbox") if _numbers(record.get(name), 4)}
    return box_in(boxes)


def about(texts: Sequence[Text], region: Region) -> list[Text]:
    """Texts as those of a region; one that has a box of its own keeps it."""
    return [replace(region, text=text) if isinstance(text, str) else text for text in texts]


def framed(texts: Sequence[Text], record: Mapping[str, Any]) -> list[Text]:
    """Texts whose boxes in pixels are of an image of the size that a record states, if it does."""
    size = _numbers([record.get(name) for name in _SIZE], 2)
    if not size or min(size) <= 0:
        return list(texts)
    return [replace(text, frame=size) if isinstance(text, Region) and text.frame is None else text for text in texts]


def grounded(record: Mapping[str, Any], texts: Sequence[Text]) -> list[Text]:
    """The phrases of a caption whose places GRIT gives, as regions."""
    caption, places = next((text for text in texts if isinstance(text, str)), ""), record.get(GRIT)
    listed = [list(place)[:6] for place in places or () if isinstance(place, (list, tuple))] if _is_list(places) else []
    found = [_numbers(place, 6) for place in listed]
    return [Region(caption[int(one[0]) : int(one[1])], one[2:], SHARES) for one in found if one]


def packed(text: Text) -> Json:
    """A text as JSON."""
    if isinstance(text, str):
        return text
    return [text.text, list(text.box), None if text.frame is None else list(text.frame)]


def unpacked(value: Any) -> Text:
    """The text that `packed` wrote."""
    if isinstance(value, str):
        return value
    text, box, frame = value
    return Region(text, tuple(box), None if frame is None else tuple(frame))


def _corners(box: tuple[float, ...]) -> tuple[float, ...]:
    """x, y, width, height -> left, top, right, bottom."""
    return (box[0], box[1], box[0] + box[2], box[1] + box[3]) if box else ()


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    """So many finite numbers, or ()."""
    if not _is_list(value) or len(value) != count:
        return ()
    if not all(isinstance(one, (int, float)) and math.isfinite(one) and abs(one) <= _LARGEST for one in value):
        return ()
    return tuple(float(one) for one in value)
