"""Folders of pictures: every file is a row, with the texts of the .txt and .json files of its stem."""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, cast

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.pipelines.readers.base import InputFile, Lost, Picture, Row, batches, forgotten_row, make_part, raw_table
from capfilt.pipelines.readers.files import Neighbours
from capfilt.pipelines.readers.samples import kind_of, texts_in, url_in


class FolderReader:
    """One file a row; the key is its path in the folder."""

    name = "folder"

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        start = 0
        for group, size in batches(((picture, picture.size) for picture in file.pictures), settings):
            names: list[Json] = [picture.name for picture in group]
            texts: dict[str, Json] = {picture.name: list(picture.texts) for picture in group if picture.texts}
            yield make_part(file, start, len(group), names=names, texts=texts, text=settings.text, bytes=size)
            start += len(group)

    def read(self, part: Part) -> pa.Table:
        where = cast(dict[str, Any], part.where)
        names = where["names"][: part.rows]
        folder = Neighbours(part.file)
        beside = [where["texts"].get(name, []) for name in names]
        described = [other for others in beside for other in others]
        contents = dict(zip(described, folder.read_all(described), strict=True))
        rows = []
        for number, (name, image, others) in enumerate(zip(names, folder.read_all(names), beside, strict=True)):
            if name is None:
                rows.append(forgotten_row(part, number))
                continue
            pairs = [(posixpath.splitext(other)[1], contents[other]) for other in others]
            files = [(extension, content) for extension, content in pairs if isinstance(content, bytes)]
            rows.append(_row(name, image, files, where["text"]))
        return raw_table(rows)


def pictures_of(files: Iterable[tuple[str, int]]) -> list[Picture]:
    """Group the (name, bytes) of a folder's files, sorted by name.

    A text or JSON file belongs to the pictures of its stem; one without a picture is a row of its own.
    """
    sizes = dict(sorted(files))
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in sizes:
        by_stem[stem(name)].append(name)
    pictures = []
    for name, size in sizes.items():
        siblings = by_stem[stem(name)]
        if not is_text_of(name, siblings):
            texts = tuple(sibling for sibling in siblings if sibling != name and is_text_of(sibling, siblings))
            pictures.append(Picture(name, size, texts))
    return pictures


def stem(name: str) -> str:
    """The path without its last extension."""
    return posixpath.splitext(name)[0]


def is_text_of(name: str, siblings: Iterable[str]) -> bool:
    """Whether `name` describes one of the files of its stem."""
    return is_description(name) and any(not is_description(sibling) for sibling in siblings)


def is_description(name: str) -> bool:
    """Whether a file is a caption by its name."""
    return kind_of(posixpath.splitext(name)[1]) in ("text", "json")


def _row(name: str, image: bytes | Lost | None, files: list[tuple[str, bytes]], text: str) -> Row:
    texts = texts_in(files, text)
    if isinstance(image, Lost):
        return Row(name, None, texts, None, image.reason, image.detail)
    return Row(name, url_in(files), texts, image)
