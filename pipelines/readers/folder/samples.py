"""Files that belong together by name: the image and the texts of one sample (webdataset, image folders)."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from capfilt.core.schema import Reason
from capfilt.pipelines.readers.files.failures import Lost
from capfilt.pipelines.readers.rows.choices import Choice
from capfilt.pipelines.readers.rows.columns import Names, find, find_texts, matching, text_columns
from capfilt.pipelines.readers.rows.references import IMAGE_EXTENSIONS
from capfilt.pipelines.readers.text.encoding import decoded_texts
from capfilt.pipelines.readers.text.regions import Text
from capfilt.pipelines.readers.text.texts import parsed_text, texts_of

TEXT_EXTENSIONS: Final = frozenset({"txt", "caption", "text", "cap", "captions"})

MAX_TEXT_BYTES: Final = 16_000_000
"""A larger .txt or .json of one sample is no caption, and takes a multiple of its size to read; its row fails."""

Wanted = str | tuple[str, ...]
"""`input.text`: auto, none, a name, or several names or patterns."""

Files = Sequence[tuple[str, str]]
"""(extension, content) of the text and JSON files of one sample."""


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


def decoded(files: Sequence[tuple[str, bytes]], encoding: str) -> list[tuple[str, str] | Lost]:
    """The content of text and JSON files, or why there is none; those that are not UTF-8 are looked at together."""
    texts = decoded_texts([content for _, content in files], encoding)
    return [
        (extension, text)
        if text is not None
        else Lost(Reason.BAD_ROW, f"its .{extension} is not UTF-8 and may be in several encodings; give input.encoding")
        for (extension, _), text in zip(files, texts, strict=True)
    ]


def texts_in(files: Files, wanted: Wanted) -> list[Text]:
    """The texts in one sample's text and JSON files.

    With names other than auto and none: the files of those extensions, and those fields of the JSON.
    """
    return [text for _, texts in placed_texts(files, wanted) for text in texts]


def placed_texts(files: Files, wanted: Wanted) -> Iterator[tuple[str, list[Text]]]:
    """The same by where they stand: `.txt`, or `caption in .json`."""
    for extension, content in files if wanted != "none" else ():
        written = parsed(content) if kind_of(extension) == "json" else parsed_text(content)
        if isinstance(written, dict) and _has_field(written, wanted):
            fields = ", ".join(text_columns(tuple(written), wanted))
            yield f"{fields} in .{extension}", find_texts(written, wanted)
        elif kind_of(extension) == "json" and (wanted != "auto" or isinstance(written, dict)):
            continue
        elif wanted == "auto" or matching((extension.rpartition(".")[2],), Names(text=wanted).texts):
            yield f".{extension}", texts_of(written if kind_of(extension) == "json" else content)


def sample_choices(samples: Sequence[Files], wanted: Wanted) -> list[Choice]:
    """Where the first samples have their texts.

    Args:
        samples: of each its text and JSON files.
    """
    places = Counter(place for files in samples for place, texts in placed_texts(files, wanted) if texts)
    if not places:
        why = "input.text" if wanted != "auto" else "no file beside the images holds one"
        return [Choice("text", "none", why)]
    why = "beside the image, of its name" if wanted == "auto" else "input.text"
    return [Choice("text", place, f"{why}; in {count} of {len(samples)}") for place, count in places.items()]


def url_in(files: Files) -> str | None:
    """The URL that a sample's JSON gives, where the image came from."""
    values = (parsed(content) for extension, content in files if kind_of(extension) == "json")
    for value in values:
        try:
            url = find(value, Names(text="none")).url if isinstance(value, dict) else None
        except ValueError:
            continue
        if url:
            return url
    return None


def fields_in(files: Files) -> Iterator[str]:
    """What `input.text` can name in a sample: extensions of text files and fields of JSON objects."""
    for extension, content in files:
        value = parsed(content) if kind_of(extension) == "json" else parsed_text(content)
        if kind_of(extension) == "text":
            yield extension.rpartition(".")[2]
        if isinstance(value, dict):
            yield from value


def parsed(content: str) -> Any:
    """A JSON value; None where it cannot be parsed: a broken description does not cost the image."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _has_field(value: dict[str, Any], wanted: Wanted) -> bool:
    """Whether an object has what is asked for as a field; with `auto`, whether a field is called like a text."""
    return (
        bool(find_texts(value, wanted)) if wanted == "auto" else bool(matching(tuple(value), Names(text=wanted).texts))
    )
