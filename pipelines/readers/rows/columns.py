"""Which column is what: names given by the recipe, or the usual ones of public lists."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from capfilt.core import config
from capfilt.core.errors import ConfigError
from capfilt.pipelines.readers.files.failures import NotAnInput
from capfilt.pipelines.readers.rows.references import (
    Several,
    is_path,
    is_reference,
    names_a_picture,
    path_named,
    references_of,
)
from capfilt.pipelines.readers.text.hygiene import clean_line
from capfilt.pipelines.readers.text.regions import PLACES, Text, about, framed, grounded, own_box
from capfilt.pipelines.readers.text.texts import TEXT_NAMES, texts_of

URL_NAMES: Final = (
    "image_url", "img_url", "imageurl", "imgurl", "image_link", "photo_image_url", "picture_url", "image_urls",
    "coco_url", "url", "photo_url", "media_url", "download_url", "downloadurl", "original_url", "originalurl", "uri",
    "src", "link", "urls",
)  # fmt: skip
"""Columns that hold a URL, likeliest first, in lower case; beside an `image_url` a `url` is that of the page."""

PATH_NAMES: Final = (
    "file_name", "filename", "image_path", "img_path", "filepath", "file_path", "image_name", "img_name", "image_file",
    "file", "path", "image", "img", "images", "photo", "picture", "image_base64", "base64", "b64", "img_b64",
    "image_bytes",
)  # fmt: skip
"""Columns that hold a file path (or a URL, or the image itself as base64), likeliest first, in lower case."""

_OF_PAGES: Final = ("url", "uri", "src", "link", "urls")
"""Of these those that may as well hold URLs of pages."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """What the recipe says: a column name, `auto` or, for the text, `none`, or several names or patterns."""

    url: str = "auto"
    text: str | tuple[str, ...] = "auto"
    by_values: bool = False  # the values of the column of references told it, not its name

    @classmethod
    def of(cls, settings: config.InputSettings) -> "Names":
        return cls(settings.url, settings.text)

    @classmethod
    def from_json(cls, where: Mapping[str, Any]) -> "Names":
        """The names that a part was planned with."""
        text = where["text"]
        return cls(where["url"], text if isinstance(text, str) else tuple(text))

    @property
    def texts(self) -> tuple[str, ...]:
        """The names or patterns that were asked for; none with `auto` and `none`."""
        if isinstance(self.text, tuple):
            return self.text
        return () if self.text in ("auto", "none") else (self.text,)


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What a record says about its image."""

    url: str | None
    path: str | None
    texts: list[Text]
    image: bytes | None = None  # where the record holds the image itself


def check(available: Sequence[str], names: Names, where: str, sample: Sequence[Record], image: bool = False) -> Names:
    """The names, with that of the column of references where only its values show it; or a refusal.

    Args:
        sample: its first records; where none of them has a reference anywhere, the file is no list of pictures.
        image: it brings image bytes itself.

    Raises:
        NotAnInput: no column holds a URL or the path of an image.
        ConfigError: names the file, the columns there are and the setting.
    """
    listed = clean_line(", ".join(available))[:300] or "none"
    if names.url != "auto" and names.url not in available:
        raise ConfigError(f"{where}: input.url = {names.url!r} is not a column; there are: {listed}")
    for name in names.texts:
        if not matching(tuple(available), (name,)):
            raise ConfigError(f"{where}: input.text = {name!r} is not a column; there are: {listed}")
    guessed = usual(available, URL_NAMES) or usual(available, PATH_NAMES)
    if names.url == "auto" and not image and not guessed:
        names = replace(names, url=_by_content(available, sample, where, listed), by_values=True)
    elif names.url == "auto" and not image and (shown := _beside_pages(available, sample)):
        names = replace(names, url=shown, by_values=True)
    if names.text == "auto" and not text_columns(tuple(available), "auto") and len(available) > 1 and not image:
        raise ConfigError(f"{where}: no column looks like a text; give input.text (or none), one of: {listed}")
    return names


def _by_content(available: Sequence[str], sample: Sequence[Record], where: str, listed: str) -> str:
    """The only column all of whose values name an image by its suffix, or hold one."""
    columns = [[record.get(name) for record in sample if record.get(name) not in (None, "")] for name in available]
    full = [
        name for name, values in zip(available, columns, strict=True) if values and all(map(names_a_picture, values))
    ]
    if len(full) == 1:
        return full[0]
    error = f"{where}: no column looks like a URL or a path; give input.url, one of: {listed}"
    raise ConfigError(error) if any(any(map(is_reference, values)) for values in columns) else NotAnInput(error)


def _beside_pages(available: Sequence[str], sample: Sequence[Record]) -> str | None:
    """The column whose URLs all end like images, where the likeliest one has URLs that do not: those of pages."""
    likeliest, *others = usual(available, URL_NAMES + PATH_NAMES)
    pages = [record.get(likeliest) for record in sample]
    if likeliest.strip().lower() not in _OF_PAGES or any(not _is_url(one) or names_a_picture(one) for one in pages):
        return None
    return next((one for one in others if sample and all(_is_url_of_image(record.get(one)) for record in sample)), None)


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and "://" in value


def _is_url_of_image(value: Any) -> bool:
    return _is_url(value) and names_a_picture(value)


def usual(available: Iterable[str], names: Sequence[str]) -> list[str]:
    """The columns of `available` that are called one of `names` in any case, likeliest first."""
    lowered: dict[str, str] = {}
    for column in available:
        lowered.setdefault(column.strip().lower(), column)
    return [lowered[name] for name in names if name in lowered]


def find(record: Record, names: Names) -> RowFacts:
    """URL, path, texts and image of one record.

    Raises:
        Several: it has more than one image.
    """
    url = path = image = None
    several: list[str | bytes] = []
    for column, holds_urls in reference_columns(tuple(record), names.url):
        value = record.get(column)
        values = references_of(str(value) if isinstance(value, int) and column == names.url else value)
        if len(values) != 1:
            several = max(several, values, key=len)
            continue
        (value,) = values
        if isinstance(value, bytes):
            image = image or value
        elif is_path(value, holds_urls):
            path = path or path_named(value)
        else:
            url = url or value
    # A column with several images counts only where no other names the one.
    if several and url is None and path is None and image is None:
        paths = [path_named(one) for one in several if isinstance(one, str) and "://" not in one]
        raise Several(len(several), ", ".join(paths), paths)
    return RowFacts(url, path, find_texts(record, names.text), image)


def find_texts(record: Record, text: str | tuple[str, ...]) -> list[Text]:
    """The texts in the columns that are asked for; with `auto` those of the usual ones, null or not."""
    columns = text_columns(tuple(record), text)
    found = [found for column in columns for found in texts_of(record.get(column))]
    region = own_box(record)
    return framed([*(about(found, region) if region else found), *grounded(record, found)], record)


def region_columns(available: Iterable[str]) -> list[str]:
    """The columns that say which part of the image a text is about."""
    return [name for name in available if name in PLACES]


@lru_cache(maxsize=1024)
def text_columns(available: tuple[str, ...], text: str | tuple[str, ...]) -> tuple[str, ...]:
    """The columns with texts; with `auto` the likeliest one and all of `caption_0`, `caption_1`, ..."""
    if text == "none":
        return ()
    if text != "auto":
        return matching(available, (text,) if isinstance(text, str) else text)
    likeliest = usual(available, TEXT_NAMES)[:1]
    return (*likeliest, *_numbered(available, *(name.strip().lower() for name in likeliest)))


@lru_cache(maxsize=1024)
def matching(available: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that are named, or that match a pattern (`caption_*`), each once."""
    found = [
        column
        for name in wanted
        for column in ([name] if name in available else [one for one in available if fnmatchcase(one, name)])
    ]
    return tuple(dict.fromkeys(found))


def _numbered(available: tuple[str, ...], *names: str) -> tuple[str, ...]:
    """The columns that are one of these names with a number behind it, or else a usual one, the likeliest there is."""
    for name in names or TEXT_NAMES:
        found = [column for column in available if _without_number(column) == name]
        if found:
            return tuple(found)
    return ()


def _without_number(column: str) -> str:
    lowered = column.strip().lower()
    bare = lowered.rstrip("0123456789")
    return bare.rstrip("_- .") if bare != lowered else ""


@lru_cache(maxsize=1024)
def reference_columns(available: tuple[str, ...], url: str) -> tuple[tuple[str, bool], ...]:
    """The columns that may name the image, likeliest first, and whether they are called like a URL."""
    columns = usual(available, URL_NAMES + PATH_NAMES) if url == "auto" else [url]
    return tuple((column, column.strip().lower() in URL_NAMES) for column in columns)
