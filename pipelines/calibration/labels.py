"""Pairs that people labeled: a Parquet, CSV or JSONL file whose rows say of a text whether it is right for an image.

label                  true or false, 1 or 0, right or wrong, yes or no
uid and candidate      a text of the run: its scores are there already
uid and text           a text for an image of the run; one that is none of its candidates is scored
image and text         an image of any origin (bytes, the Hugging Face struct, or a path beside the file)
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from capfilt.core.errors import InputError
from capfilt.core.storage import split_url

TYPES: Final = {"uid": pa.string(), "candidate": pa.int32(), "text": pa.string()}
"""Columns whose type is not guessed: a uid may look like a number."""

WORDS: Final = {"true": True, "1": True, "right": True, "yes": True} | {
    "false": False, "0": False, "wrong": False, "no": False
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """A row of the file."""

    row: int  # from 1
    right: bool
    uid: str | None
    candidate: int | None
    text: str | None
    image: bytes | None

    @property
    def key(self) -> str:
        """Which image it is: its uid, or a digest of the bytes."""
        return self.uid or hashlib.sha256(self.image or b"").hexdigest()[:32]


def read_labels(location: str) -> list[Label]:
    """All rows of a file.

    Raises:
        InputError: no such file, missing columns, a label that is none, or a row that names no text.
    """
    table = _read(location)
    names = set(table.column_names)
    ways = ({"uid", "candidate"}, {"uid", "text"}, {"image", "text"})
    if "label" not in names or not any(way <= names for way in ways):
        there = ", ".join(table.column_names)
        raise InputError(f"{location}: needs label, and uid + candidate, uid + text or image + text; there are {there}")
    return list(to_labels(table, location))


def to_labels(table: pa.Table, location: str) -> Iterator[Label]:
    """The rows of a table with the columns of such a file; `location` says where it is from."""
    wanted = [name for name in ("label", "uid", "candidate", "text", "image") if name in table.column_names]
    for number, row in enumerate(table.select(wanted).to_pylist(), 1):
        where = f"{location}: row {number}"
        right = WORDS.get(str(row["label"]).strip().lower())
        if right is None:
            raise InputError(f"{where}: label {row['label']!r} is not one of {', '.join(WORDS)}")
        uid, candidate, text, image = (row.get(name) for name in ("uid", "candidate", "text", "image"))
        if (candidate is None and text is None) or (uid is None and image is None):
            raise InputError(f"{where}: names no text or no image")
        yield Label(number, right, uid, candidate, text, None if uid else _bytes(image, location, where))


def _bytes(image: Any, location: str, where: str) -> bytes:
    if isinstance(image, dict):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        return image
    path = Path(location).parent / str(image)
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"{where}: image {image!r} cannot be read beside the file") from error


def _read(location: str) -> pa.Table:
    filesystem, path = split_url(location)
    kind = Path(path).suffix.lower()
    try:
        with filesystem.open_input_file(path) as stream:
            if kind == ".parquet":
                return _typed(pq.read_table(stream))
            if kind == ".csv":
                convert = pyarrow.csv.ConvertOptions(column_types=TYPES, strings_can_be_null=True)
                return pyarrow.csv.read_csv(stream, convert_options=convert)
            if kind in (".jsonl", ".ndjson"):
                parse = pyarrow.json.ParseOptions(explicit_schema=pa.schema(TYPES))
                return pyarrow.json.read_json(stream, parse_options=parse)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{location}: {str(error).splitlines()[0]}") from error
    raise InputError(f"{location}: labeled pairs are a .parquet, .csv or .jsonl file")


def _typed(table: pa.Table) -> pa.Table:
    for name, kind in TYPES.items():
        if name in table.column_names:
            table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    return table
