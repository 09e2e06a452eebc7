"""Folders of images: every image is a row, with the texts of the .txt and .json files of its name."""

import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, cast

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.core.schema import Reason
from capfilt.pipelines.readers.files.failures import Lost
from capfilt.pipelines.readers.files.pictures import Neighbours
from capfilt.pipelines.readers.folder.samples import (
    MAX_TEXT_BYTES,
    decoded,
    kind_of,
    sample_choices,
    texts_in,
    url_in,
)
from capfilt.pipelines.readers.rows.choices import Choice
from capfilt.pipelines.readers.rows.reader import (
    InputFile,
    Picture,
    Reader,
    Row,
    Where,
    batches,
    forgotten_row,
    make_part,
    raw_table,
)

_LOOKED_AT: Final = 20  # images whose texts are read to say where texts stand


class FolderReader(Reader):
    """One image a row; the key is its path in the folder."""

    name = "folder"
    about = "images, each with the .txt and .json files of its name"

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        start = 0
        asked = texts_asked(settings)
        for group, size in batches(((picture, _bytes_read(picture)) for picture in file.pictures), settings):
            names: list[Json] = [picture.name for picture in group]
            texts: dict[str, Json] = {picture.name: list(picture.texts) for picture in group if picture.texts}
            yield make_part(file, start, len(group), names=names, texts=texts, bytes=size, **asked)
            start += len(group)

    def read(self, part: Part) -> pa.Table:
        where = cast(dict[str, Any], part.where)
        names = where["names"][: part.rows]
        folder = Neighbours(part.file)
        beside = [where["texts"].get(name, []) for name in names]
        texts = _contents(folder, [other for others in beside for other in others], where.get("encoding", "auto"))
        asked = where["text"] if isinstance(where["text"], str) else tuple(where["text"])
        rows = []
        for number, (name, image, others) in enumerate(zip(names, folder.read_all(names), beside, strict=True)):
            if name is None:
                rows.append(forgotten_row(part, number))
            else:
                rows.append(_row(name, image, [texts[other] for other in others if other in texts], asked))
        return raw_table(rows)

    def choices(self, file: InputFile, settings: config.InputSettings) -> list[Choice]:
        folder, first = Neighbours(file.location), file.pictures[:_LOOKED_AT]
        texts = _contents(folder, [text for picture in first for text in picture.texts], settings.encoding)
        found = [[one for name in picture.texts if isinstance(one := texts.get(name), tuple)] for picture in first]
        kinds = Counter(posixpath.splitext(picture.name)[1].lower() or "no suffix" for picture in file.pictures)
        count = ", ".join(f"{kind} ({number})" for kind, number in kinds.most_common(6))
        return [Choice("image", count, "files of images that no list names"), *sample_choices(found, settings.text)]

    def keys(self, part: Part) -> Sequence[str | None]:
        return cast(list[str | None], part.where["names"])

    def redacted(self, part: Part, gone: Callable[[str], bool]) -> Where:
        where = cast(Where, part.where)
        names = [None if name is None or gone(name) else name for name in where["names"]]
        texts = {name: texts for name, texts in where["texts"].items() if name in names}
        return where | {"names": names, "texts": texts}


def texts_asked(settings: config.InputSettings) -> dict[str, Json]:
    """What a part needs to know of the recipe to find the texts of a sample."""
    text: Json = settings.text if isinstance(settings.text, str) else list(settings.text)
    return {"text": text} | ({} if settings.encoding == "auto" else {"encoding": settings.encoding})


def pictures_of(files: Iterable[tuple[str, int]]) -> list[Picture]:
    """Group the (name, bytes) of a folder's files, sorted by name.

    A text or JSON file belongs to the images of its stem, or to the one it is named after (`a.jpg.txt`); one without
    an image is a row of its own.
    """
    sizes = dict(sorted(files))
    pictures = [name for name in sizes if not is_description(name)]
    stems = {text_key(name) for name in pictures}
    names = {picture_key(name) for name in pictures}
    texts: dict[str, list[str]] = defaultdict(list)
    alone: list[str] = []
    for name in sizes:
        if is_description(name):
            belongs = text_key(name) in stems or text_key(name) in names
            (texts[text_key(name)] if belongs else alone).append(name)
    own = {name: texts[text_key(name)] for name in pictures}
    # `a.jpg.txt` is a text of a.jpg, unless there is an a.jpg.png, whose stem it has.
    named = {name: texts[picture_key(name)] if picture_key(name) not in stems else [] for name in pictures}
    found = []
    for name in pictures:
        beside = (*own[name], *named[name])
        found.append(Picture(name, sizes[name], beside, tuple(sizes[text] for text in beside)))
    return sorted([*found, *(Picture(name, sizes[name]) for name in alone)], key=lambda picture: picture.name)


def text_key(name: str) -> str:
    """What a text must be named after to belong to the images of this stem; letters in one Unicode form.

    (macOS takes `é` apart in the names of files, and a text may come from elsewhere.)
    """
    return picture_key(stem(name))


def picture_key(name: str) -> str:
    """The whole name in the same form, for texts like `a.jpg.txt`."""
    return unicodedata.normalize("NFC", name)


def picture_keys(names: Iterable[str]) -> set[str]:
    """Every key under which a text may belong to one of these pictures."""
    return {key for name in names for key in (text_key(name), picture_key(name))}


def stem(name: str) -> str:
    """The path without its last extension."""
    return posixpath.splitext(name)[0]


def is_description(name: str) -> bool:
    """Whether a file is a caption by its name."""
    return kind_of(posixpath.splitext(name)[1]) in ("text", "json")


def _bytes_read(picture: Picture) -> int:
    return picture.size + sum(size for size in picture.text_sizes if size <= MAX_TEXT_BYTES)


def _contents(folder: Neighbours, names: list[str], encoding: str) -> dict[str, tuple[str, str] | Lost]:
    """(extension, content) of the text files that are there, by name, or why one cannot be read."""
    read = list(zip(names, folder.read_all(names, MAX_TEXT_BYTES), strict=True))
    found = [(name, content) for name, content in read if isinstance(content, bytes)]
    pairs = [(posixpath.splitext(name)[1].removeprefix("."), content) for name, content in found]
    large = {name: lost for name, lost in read if isinstance(lost, Lost) and lost.reason == Reason.TOO_LARGE}
    return dict(zip([name for name, _ in found], decoded(pairs, encoding), strict=True)) | large


def _row(
    name: str, image: bytes | Lost | None, texts: list[tuple[str, str] | Lost], asked: str | tuple[str, ...]
) -> Row:
    lost = next((one for one in texts if isinstance(one, Lost)), None)
    if lost is not None and asked != "none":
        return Row(name, reason=lost.reason, detail=lost.detail)
    files = [one for one in texts if not isinstance(one, Lost)]
    found = texts_in(files, asked)
    if isinstance(image, Lost):
        return Row(name, None, found, None, image.reason, image.detail)
    return Row(name, url_in(files), found, image)
