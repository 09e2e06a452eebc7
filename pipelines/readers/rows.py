"""From records, whatever file they stood in, to rows."""

from collections.abc import Sequence

from capfilt.core.chunks import Part
from capfilt.core.schema import Reason
from capfilt.pipelines.readers.base import Lost, Row
from capfilt.pipelines.readers.columns import Names, Record, find
from capfilt.pipelines.readers.files import Neighbours

Entry = Record | ValueError
"""A record, or why it cannot be parsed."""


def rows_of(entries: Sequence[Entry], part: Part, names: Names, images: Sequence[bytes | None] = ()) -> list[Row]:
    """One row an entry; the key is the number of the row in its file, from 0.

    Image bytes come from `images` where the file holds them itself, else from the file that the entry names. A named
    file that is missing loses the row only if there is no URL either.
    """
    found = [None if isinstance(entry, ValueError) else find(entry, names) for entry in entries]
    own = list(images) or [None] * len(found)
    wanted = [fact.path if fact and image is None else None for fact, image in zip(found, own, strict=True)]
    pictures = Neighbours.beside(part.file).read_all(wanted) if any(wanted) else [None] * len(found)
    rows = []
    for key, (entry, fact, image, picture) in enumerate(zip(entries, found, own, pictures, strict=True), part.start):
        if fact is None:
            rows.append(Row(str(key), reason=Reason.BAD_ROW, detail=str(entry)))
        elif isinstance(picture, Lost) and fact.url is None:
            rows.append(Row(str(key), None, fact.texts, None, picture.reason, picture.detail))
        else:
            bytes_found = None if isinstance(picture, Lost) else picture
            rows.append(Row(str(key), fact.url, fact.texts, bytes_found if image is None else image))
    return rows
