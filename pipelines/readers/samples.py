"""Files that belong together by name: the picture and the texts of one sample (webdataset, image folders)."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from capfilt.pipelines.readers.columns import Names, find, find_texts
from capfilt.pipelines.readers.text import decode, texts_of

IMAGE_EXTENSIONS: Final = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "ppm", "jp2"}
)
TEXT_EXTENSIONS: Final = frozenset({"txt", "caption", "text", "cap", "captions"})


def split_name(name: str) -> tuple[str, str]:
    """(key, extension) as webdataset cuts them: at the first dot behind the last slash, in `a/b.seg.png` -> `a/b`."""
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return folder + slash + key, extension


def kind_of(extension: str) -> str:
    """`image`, `text`, `json` or nothing, by the last part of an extension (`jpg`, `left.jpg`)."""
    extension = extension.rpartition(".")[2].lower()
    if extension in IMAGE_EXTENSIONS:
        return "image"
    if extension in TEXT_EXTENSIONS:
        return "text"
    return "json" if extension == "json" else ""


def texts_in(files: Iterable[tuple[str, bytes]], name: str) -> list[str]:
    """The texts in (extension, content) of one sample's text and JSON files.

    With a `name` other than auto and none: the file of that extension, and that field of the JSON.
    """
    if name == "none":
        return []
    texts: list[str] = []
    for extension, content in files:
        if kind_of(extension) == "text" and name in ("auto", extension.rpartition(".")[2]):
            texts.append(decode(content))
        elif kind_of(extension) == "json":
            texts += _json_texts(_parsed(content), name)
    return texts


def url_in(files: Iterable[tuple[str, bytes]]) -> str | None:
    """The URL that a sample's JSON gives, where the picture came from."""
    values = (_parsed(content) for extension, content in files if kind_of(extension) == "json")
    urls = (find(value, Names(text="none")).url for value in values if isinstance(value, dict))
    return next((url for url in urls if url), None)


def fields_in(files: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """What `input.text` can name in a sample: extensions of text files and fields of JSON objects."""
    for extension, content in files:
        if kind_of(extension) == "text":
            yield extension.rpartition(".")[2]
        elif kind_of(extension) == "json" and isinstance(value := _parsed(content), dict):
            yield from value


def _json_texts(value: Any, name: str) -> list[str]:
    if isinstance(value, dict):
        return find_texts(value, name)
    return texts_of(value) if name == "auto" else []


def _parsed(content: bytes) -> Any:
    """A JSON value; None where it cannot be parsed: a broken description does not cost the picture."""
    try:
        return json.loads(decode(content))
    except (ValueError, RecursionError):
        return None
