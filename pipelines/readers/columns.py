"""Which column is what: names given by the recipe, or the usual ones of public lists."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capfilt.core import config
from capfilt.core.errors import ConfigError
from capfilt.pipelines.readers.text import clean_line, decode, texts_of

URL_NAMES: Final = (
    "url", "image_url", "img_url", "imageurl", "imgurl", "image_link", "photo_url", "photo_image_url", "picture_url",
    "media_url", "download_url", "downloadurl", "coco_url", "original_url", "uri", "src", "link", "urls", "image_urls",
)  # fmt: skip
"""Columns that hold a URL, likeliest first, in lower case."""

PATH_NAMES: Final = (
    "file_name", "filename", "image_path", "img_path", "filepath", "file_path", "image_name", "img_name", "image_file",
    "file", "path", "image", "img", "images", "photo", "picture",
)  # fmt: skip
"""Columns that hold a file path (or a URL after all: its `://` tells), likeliest first, in lower case."""

TEXT_NAMES: Final = (
    "text", "captions", "caption", "alt", "alt_text", "alttext", "top_caption", "raw_caption", "sentences", "sentence",
    "texts", "txt", "description", "caption_reference_description", "title", "prompt",
)  # fmt: skip
"""Columns that hold the text, likeliest first, in lower case."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """What the recipe says: a column name, `auto` or, for the text, `none`."""

    url: str = "auto"
    text: str = "auto"

    @classmethod
    def of(cls, settings: config.InputSettings) -> "Names":
        return cls(settings.url, settings.text)


@dataclass(frozen=True, slots=True)
class Found:
    """What a record says about its picture."""

    url: str | None
    path: str | None
    texts: list[str]


def check(available: Sequence[str], names: Names, where: str, image: bool = False) -> None:
    """Refuse a file without the columns that are asked for; `image` says that it brings image bytes itself.

    Raises:
        ConfigError: names the file, the columns there are and the setting.
    """
    listed = clean_line(", ".join(available))[:300] or "none"
    for setting, name in (("input.url", names.url), ("input.text", names.text)):
        special = name == "auto" or (setting == "input.text" and name == "none")
        if not special and name not in available:
            raise ConfigError(f"{where}: {setting} = {name!r} is not a column; there are: {listed}")
    guessed = usual(available, URL_NAMES) or usual(available, PATH_NAMES)
    if names.url == "auto" and not image and not guessed:
        raise ConfigError(f"{where}: no column looks like a URL or a path; give input.url, one of: {listed}")
    if names.text == "auto" and not usual(available, TEXT_NAMES) and len(available) > 1 and not image:
        raise ConfigError(f"{where}: no column looks like a text; give input.text (or none), one of: {listed}")


def usual(available: Iterable[str], names: Sequence[str]) -> list[str]:
    """The columns of `available` that are called one of `names` in any case, likeliest first."""
    lowered: dict[str, str] = {}
    for column in available:
        lowered.setdefault(column.strip().lower(), column)
    return [lowered[name] for name in names if name in lowered]


def find(record: Record, names: Names) -> Found:
    """URL, path and texts of one record.

    A column with one of `URL_NAMES` holds URLs whatever stands in it. In any other column a value with `://` is a
    URL and everything else is a path.
    """
    url = path = None
    columns = usual(record, URL_NAMES + PATH_NAMES) if names.url == "auto" else [names.url]
    for column in columns:
        value = _single(record.get(column))
        if not value:
            continue
        if "://" in value or column.strip().lower() in URL_NAMES:
            url = url or value
        else:
            path = path or value
    return Found(url, path, find_texts(record, names.text))


def find_texts(record: Record, name: str) -> list[str]:
    """The texts in column `name`; with `auto` those of the first usual column that the record has, null or not."""
    if name == "none":
        return []
    columns = usual(record, TEXT_NAMES) if name == "auto" else [name]
    return texts_of(record.get(columns[0])) if columns else []


def _single(value: Any) -> str | None:
    """A reference: a string, or a list that holds one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return decode(value).strip() if isinstance(value, (str, bytes)) else None
