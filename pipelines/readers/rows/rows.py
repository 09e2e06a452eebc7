"""From records, whatever file they stood in, to rows."""

from collections.abc import Sequence

from capfilt.core.chunks import Part
from capfilt.core.schema import Reason
from capfilt.pipelines.readers.files.failures import Lost
from capfilt.pipelines.readers.files.pictures import Neighbours, Origin
from capfilt.pipelines.readers.rows.columns import Names, Record, RowFacts, find
from capfilt.pipelines.readers.rows.reader import Row
from capfilt.pipelines.readers.rows.references import Several

Entry = Record | ValueError
"""A record, or why it cannot be parsed."""


def rows_of(entries: Sequence[Entry], part: Part, names: Names, images: Sequence[bytes | None] = ()) -> list[Row]:
    """One row an entry; image bytes come from `images` where the file holds them in a column of their own."""
    own = list(images) or [None] * len(entries)
    found = [found_in(entry, names, image) for entry, image in zip(entries, own, strict=True)]
    return rows_of_found(found, part)


def rows_of_found(found: Sequence[RowFacts | ValueError], part: Part) -> list[Row]:
    """One row each; the key is the number of the row in its file, from 0.

    A named file that is missing loses the row only if there is no URL either.
    """
    wanted = [fact.path if isinstance(fact, RowFacts) and fact.image is None else None for fact in found]
    origin = Origin.from_json(part.where)
    pictures = Neighbours.beside(part.file, origin).read_all(wanted) if any(wanted) else [None] * len(found)
    return [
        _row(str(key), fact, image) for key, (fact, image) in enumerate(zip(found, pictures, strict=True), part.start)
    ]


def found_in(entry: Entry, names: Names, image: bytes | None = None) -> RowFacts | ValueError:
    """What an entry says of its image, or why nothing can be told."""
    if isinstance(entry, ValueError):
        return entry
    try:
        fact = find(entry, names)
    except ValueError as error:
        return error
    return fact if image is None else RowFacts(fact.url, fact.path, fact.texts, image)


def paths_in(fact: RowFacts | ValueError) -> Sequence[str]:
    """The paths that an entry names, one or several."""
    if isinstance(fact, RowFacts):
        return [fact.path] if fact.path else []
    return fact.paths if isinstance(fact, Several) else []


def merged(found: Sequence[RowFacts | ValueError]) -> RowFacts | ValueError:
    """The first of several entries about one image, with the texts of all that can be read."""
    good = [fact for fact in found if isinstance(fact, RowFacts)]
    if not good:
        return found[0]
    return RowFacts(good[0].url, good[0].path, [text for fact in good for text in fact.texts], good[0].image)


def _row(key: str, fact: RowFacts | ValueError, picture: bytes | Lost | None) -> Row:
    if isinstance(fact, ValueError):
        return Row(key, reason=Reason.BAD_ROW, detail=str(fact))
    if isinstance(picture, Lost) and fact.url is None:
        return Row(key, None, fact.texts, None, picture.reason, picture.detail)
    image = picture if fact.image is None else fact.image
    return Row(key, fact.url, fact.texts, None if isinstance(image, Lost) else image)
