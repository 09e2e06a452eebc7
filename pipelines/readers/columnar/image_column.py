"""Which column holds the images: its name says so, or its first bytes do."""

from typing import Final

import pyarrow as pa

from capfilt.core import config
from capfilt.pipelines.imaging.signatures import looks_like_an_image
from capfilt.pipelines.readers.columnar.table import DAMAGE, Table
from capfilt.pipelines.readers.columnar.values import holds_bytes, image_bytes, records_in
from capfilt.pipelines.readers.rows import columns
from capfilt.pipelines.readers.rows.choices import Choice
from capfilt.pipelines.readers.text.texts import TEXT_NAMES

IMAGE_NAMES: Final = (
    "image", "images", "bytes", "image_bytes", "img", "img_bytes", "image_data", "jpg", "jpeg", "png", "webp", "gif",
    "bmp", "tif", "tiff", "avif", "picture", "photo", "binary", "data", "content",
)  # fmt: skip
"""Columns that hold image bytes, likeliest first, in lower case; img2dataset names its column after the encoding."""

_ASIDE: Final = ("thumb", "preview", "mask", "depth", "conditioning")
"""What stands in the name of a column with images that are not the image itself, where a URL names that."""

_LOOKED_AT: Final = 16  # rows


def image_column(table: Table, settings: config.InputSettings) -> Choice | None:
    """The column with image bytes, if there is one, and why it.

    Names alone do not tell: a list of URLs may have one binary column, with a hash or an embedding. So where there
    are URLs or paths too, a column counts only if an image stands in its first rows.
    """
    able = [field.name for field in table.schema if holds_bytes(field.type) and field.name not in _taken(settings)]
    named = columns.usual(able, IMAGE_NAMES)
    # Old writers store strings as binary: a column that is named like a text or a URL is one.
    other = columns.usual(able, columns.URL_NAMES + columns.PATH_NAMES + TEXT_NAMES)
    references = columns.usual(table.schema.names, columns.URL_NAMES + columns.PATH_NAMES)
    urls = columns.usual(table.schema.names, columns.URL_NAMES)
    others = [name for name in able if name not in (*named, *other) and not (urls and _is_aside(name))]
    for name in [*named, *others]:
        if _shows_an_image(table, name):
            return Choice("image", str(name), "its first rows hold images")
    rest = [name for name in references if name not in able]
    structs = [name for name in named if pa.types.is_nested(table.schema.field(name).type)]
    called = next(iter(structs if rest else named), None)
    return Choice("image", str(called), "bytes, and called like an image") if called else None


def _taken(settings: config.InputSettings) -> tuple[str, ...]:
    text = settings.text
    return (settings.url, *((text,) if isinstance(text, str) else text))


def _is_aside(name: str) -> bool:
    return any(word in name.lower() for word in _ASIDE)


def _shows_an_image(table: Table, name: str) -> bool:
    """Whether one of the first rows, of the first group that can be read, has the signature of an image."""
    for group in range(min(len(table.groups), 2)):
        try:
            batch = next(iter(table.batches(group, [name], _LOOKED_AT)), None)
        except DAMAGE:
            continue
        values = [image_bytes(record[name]) for record in records_in(batch.slice(0, _LOOKED_AT))] if batch else []
        if any(value and looks_like_an_image(value[:64]) for value in values):
            return True
    return False
