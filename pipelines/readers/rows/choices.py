"""What a reader chose in a file, and why: what `capfilt check` shows before a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from capfilt.pipelines.readers.files.pictures import Origin
from capfilt.pipelines.readers.rows.columns import Names, reference_columns, text_columns, usual
from capfilt.pipelines.readers.text.regions import GRIT
from capfilt.pipelines.readers.text.texts import TEXT_NAMES

USUAL = "a usual name"


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that a reader chose in a file."""

    what: str  # a setting of [input] where one changes it: text, encoding, ...
    value: str
    why: str


def column_choices(available: Sequence[str], names: Names, image: Choice | None = None) -> list[Choice]:
    """Which columns hold image, URL or path, and texts, and which are not read.

    Args:
        image: the column with image bytes, where there is one.
    """
    own = [image.value] if image else []
    named = [name for name, _ in reference_columns(tuple(available), names.url)]
    references = [name for name in named if name in available and name not in own]
    texts = text_columns(tuple(available), names.text)
    places = [name for name in ("box", "bbox", GRIT) if name in available and texts]
    used = {*references, *texts, *own, *places}
    found = [image] if image else []
    if references:
        found.append(Choice("url or path", ", ".join(references), _why_url(references, names)))
    found.append(Choice("text", ", ".join(texts) or "none", _why_text(texts, names)))
    found += [Choice("box", name, USUAL) for name in places]
    return [*found, *_not_read([name for name in available if name not in used])]


def image_place(origin: Origin | None) -> list[Choice]:
    """In which folder the images of a list are, where that is not the folder of the list."""
    if origin is None:
        return []
    folders = ", ".join(f"{folder}/" for folder in (origin.folder, *origin.others))
    without = f", without {origin.strip} leading folders of the list" if origin.strip else ""
    spelled = f", spelled otherwise ({', '.join(origin.spelling)})" if origin.spelling else ""
    return [Choice("images", folders + without + spelled, "the paths of the list are found there")]


def _why_url(references: Sequence[str], names: Names) -> str:
    if names.by_values:
        return "all of its values name images"
    if names.url != "auto":
        return "input.url"
    return USUAL if len(references) == 1 else "usual names; of each row the first that is filled"


def _why_text(texts: Sequence[str], names: Names) -> str:
    if names.text != "auto":
        return "input.text"
    if not texts:
        return "no column is called like a text"
    return USUAL if usual(texts, TEXT_NAMES) else "numbered columns of a usual name"


def _not_read(rest: Sequence[str]) -> list[Choice]:
    more = f", ... ({len(rest)} in all)" if len(rest) > 8 else ""
    return [Choice("not read", ", ".join(rest[:8]) + more, "neither image, URL nor text")] if rest else []
