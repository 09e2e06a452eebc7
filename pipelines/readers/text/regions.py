"""Regions: texts about a part of their image, and how data sets write the box around it.

| written as | numbers | by |
|---|---|---|
| `box`: [left, top, right, bottom] | shares of the image's width and height, 0..1 | `corpus/` of a run |
| `bbox`: [x, y, width, height] | pixels | COCO |
| `x`, `y`, `width`, `height` | pixels | Visual Genome |
| `ref_exps`: [[start, end, left, top, right, bottom, score], ...] | places in the caption, and shares | GRIT |

Pixels are those of the record's `original_width` and `original_height` (img2dataset's, of the image before it resized
it) or `width` and `height` where it has them, else of the image as it is decoded. Cells of a CSV spell all of these as
strings. A value that is no list of numbers, such as `box: "large"`, says nothing of a place.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from capfilt.core.chunks import Json

GRIT: Final = "ref_exps"
"""GRIT's column of phrases with boxes."""

SHARES: Final = (1.0, 1.0)
"""The frame of a box in shares."""

_SIZE: Final = ("width", "height")
_FRAMES: Final = (("original_width", "original_height"), _SIZE)
PLACES: Final = ("box", "bbox", *(name for frame in _FRAMES for name in frame), GRIT)
"""Columns of a list that say which part of the image its text is about."""

_LARGEST: Final = 1e6
"""No pixel has a larger number."""
_SPILL: Final = 0.5
"""How far a box in shares may reach beyond the image; one in pixels, in a column called `box`, reaches further."""


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
    written = {name: cell for name in _UNITS if _is_place(cell := _cell(value.get(name)))}
    if not written and all(_number(value.get(name)) is not None for name in ("x", "y", *_SIZE)):
        written["bbox"] = [value[name] for name in ("x", "y", *_SIZE)]
    found = [_UNITS[name](_numbers(cell, 4)) for name, cell in written.items()]
    return next((region for region in found if region.box), found[0] if found else None)


def own_box(record: Mapping[str, Any]) -> Region | None:
    """The box of a record that has one text: four numbers; a list of boxes belongs to no text in particular."""
    cells = {name: _cell(record.get(name)) for name in _UNITS}
    return box_in({name: cell for name, cell in cells.items() if _is_list(cell) and _is_four(cell)})


def about(texts: Sequence[Text], region: Region) -> list[Text]:
    """Texts as those of a region; one that has a box of its own keeps it."""
    return [replace(region, text=text) if isinstance(text, str) else text for text in texts]


def framed(texts: Sequence[Text], record: Mapping[str, Any]) -> list[Text]:
    """Texts whose boxes in pixels are of an image of the size that a record states, if it does."""
    sizes = [_numbers([record.get(name) for name in names], 2) for names in _FRAMES]
    size = next((size for size in sizes if size and min(size) > 0), None)
    if size is None:
        return list(texts)
    return [replace(text, frame=size) if isinstance(text, Region) and text.frame is None else text for text in texts]


def grounded(record: Mapping[str, Any], texts: Sequence[Text]) -> list[Text]:
    """The phrases of a caption whose places GRIT gives, as regions."""
    caption, places = next((text for text in texts if isinstance(text, str)), ""), _cell(record.get(GRIT))
    listed = [list(place)[:6] for place in places or () if _is_list(place)] if _is_list(places) else []
    found = [_numbers(place, 6) for place in listed]
    return [
        Region(caption[int(one[0]) : int(one[1])], one[2:], SHARES)
        for one in found
        if one and 0 <= one[0] < one[1] <= len(caption)
    ]


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


def _of_shares(box: tuple[float, ...]) -> Region:
    return Region("", box if all(-_SPILL <= value <= 1 + _SPILL for value in box) else (), SHARES)


def _of_pixels(box: tuple[float, ...]) -> Region:
    """x, y, width, height -> left, top, right, bottom."""
    return Region("", (box[0], box[1], box[0] + box[2], box[1] + box[3]) if box else ())


_UNITS: Final[Mapping[str, Callable[[tuple[float, ...]], Region]]] = {"box": _of_shares, "bbox": _of_pixels}
"""From the four numbers of a column to a region; () makes one without a box."""


def _cell(value: Any) -> Any:
    """The list that a string spells, as JSON, Python or NumPy write it; anything else as it is."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "("):
        return value
    text = value.strip().replace("(", "[").replace(")", "]")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip("[]").replace(",", " ").split()


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_place(value: Any) -> bool:
    """Whether a value says where something is, rightly or wrongly; words, single numbers and empty lists do not."""
    return isinstance(value, (list, tuple, Mapping)) and len(value) > 0


def _is_four(cells: Sequence[Any]) -> bool:
    """Whether these are four numbers, be they finite or not."""
    return len(cells) == 4 and all(_number(one) is not None for one in cells)


def _number(value: Any) -> float | None:
    """A number, or what a string spells; NaN for one that is too large."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.nan
    except ValueError:
        return None


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    """So many finite numbers, or ()."""
    if not _is_list(value) or len(value) != count:
        return ()
    numbers = [one for one in map(_number, value) if one is not None and abs(one) <= _LARGEST]  # NaN is not
    return tuple(numbers) if len(numbers) == count else ()
