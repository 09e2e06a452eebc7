"""What a reader is: it cuts one input file into parts at plan time, and gives the rows of a part later."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.core.schema import RAW, Reason
from capfilt.pipelines.readers.files.pictures import Origin
from capfilt.pipelines.readers.rows.choices import Choice
from capfilt.pipelines.readers.text.hygiene import MAX_URL, clean_key, clean_line, clean_texts, clean_url
from capfilt.pipelines.readers.text.regions import Text

Item = TypeVar("Item")

Where = dict[str, Any]
"""`Part.where` of a reader that knows what it wrote there."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One file of an image folder; names are relative to the folder."""

    name: str
    size: int  # bytes
    texts: tuple[str, ...] = ()  # .txt and .json files of the same stem
    text_sizes: tuple[int, ...] = ()  # bytes of each


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file that gives rows (or one folder of images)."""

    reader: str
    location: str  # absolute path or URL
    identity: str  # stable name, part of every uid
    origin: str  # the INPUT argument it came from
    named: bool = False  # given by its own name, so that a broken one is the user's mistake and not data
    sidecar: str | None = None  # location of a CSV with the texts of a shard
    pictures: tuple[Picture, ...] = ()  # of a folder
    origin_of_pictures: Origin | None = None  # where those are that a list names, if not beside it

    def to_json(self) -> dict[str, Json]:
        """All but the pictures of a folder."""
        names = ("reader", "location", "identity", "origin", "named", "sidecar")
        return {name: getattr(self, name) for name in names} | {"where": _origin(self)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "InputFile":
        """The file that `to_json` wrote."""
        fields = {name: value for name, value in told.items() if name != "where"}
        return cls(**fields, origin_of_pictures=Origin.from_json(told["where"]))

    own_size: int = 0  # bytes of the file; 0 of a folder

    @property
    def size(self) -> int:
        """Bytes of the file, or of the images of a folder."""
        return sum(picture.size for picture in self.pictures) or self.own_size


class Reader(ABC):
    """An input format: its files, its rows, and what `capfilt forget` takes out of its plan.

    To add one, write a class in a file of its own and name it in `READERS` (`readers/__init__.py`).
    """

    name: ClassVar[str]
    about: ClassVar[str]  # what it reads, for people; a line
    suffixes: ClassVar[tuple[str, ...]] = ()  # of its files, in lower case and without packing: "csv" for x.CSV.gz
    marks: ClassVar[tuple[bytes, ...]] = ()  # how its files begin, whatever they are called
    limited: ClassVar[bool] = False  # read in a process with a memory limit

    @abstractmethod
    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        """Cut `file` into parts of at most chunk_rows rows and about chunk_bytes, without decoding any image.

        `Part.where` belongs to the reader, but for "bytes": the image bytes of the part, about.

        Raises:
            NotAnInput: the file is sound, but holds no images.
            ConfigError: a column that is not there or cannot be guessed.
            InputError: nothing of the file can be read. Later damage is a row: see `broken_part`.
        """

    @abstractmethod
    def read(self, part: Part) -> pa.Table:
        """The rows of `part` as `schema.RAW`, in order; another number of rows means that the file has changed."""

    def keys(self, part: Part) -> Sequence[str | None]:
        """The keys of the rows of `part`, without reading it; None for one that was forgotten."""
        return [str(number) for number in range(part.start, part.start + part.rows)]

    def failed(self, part: Part, detail: str) -> pa.Table:
        """`read` of a part that cannot be read: all its rows are failures."""
        return raw_table(
            forgotten_row(part, number) if key is None else Row(key, reason=Reason.BAD_CONTAINER, detail=detail)
            for number, key in enumerate(self.keys(part)[: part.rows])
        )

    def check(self, file: InputFile, settings: config.InputSettings) -> None:
        """Look at the head of a file; raises as `parts` does."""
        return None

    def choices(self, file: InputFile, settings: config.InputSettings) -> list[Choice]:
        """What it chose in a file, such as columns and encoding, and why; raises as `parts` does."""
        return []

    def references(self, file: InputFile, settings: config.InputSettings, rows: int | None = None) -> Iterator[str]:
        """Every path that the first `rows` rows name (all by default), as written; raises as `parts` does."""
        return iter(())

    def gives_texts(self, file: InputFile, settings: config.InputSettings) -> bool:
        """Whether it may hold texts; a list without any is left out where another one names its pictures."""
        return True

    def redacted(self, part: Part, gone: Callable[[str], bool]) -> Where:
        """`part.where` without the names of the rows that are gone, of each of which `read` makes a `forgotten_row`.

        Args:
            gone: whether the row of this key is to be forgotten.
        """
        return part.where


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `schema.RAW` before its texts are cleaned."""

    key: str
    url: str | None = None
    texts: Sequence[Text] = ()
    image: bytes | None = None
    reason: Reason | None = None
    detail: str | None = None


def raw_table(rows: Iterable[Row]) -> pa.Table:
    """`schema.RAW` of the rows. A row with neither image nor URL nor reason gets no_image."""
    return pa.Table.from_pylist([_record(row) for row in rows], schema=RAW)


def _record(row: Row) -> dict[str, object]:
    url = (clean_url(row.url) or None) if row.url is not None else None
    reason, detail = row.reason, row.detail
    if reason is None and row.image is None and url is None:
        reason, detail = Reason.NO_IMAGE, detail or "neither a URL nor image bytes"
    if url is not None and len(url) > MAX_URL:
        if reason is None and row.image is None:
            reason, detail = Reason.BAD_URL, f"{len(url)} characters, a URL may have {MAX_URL}"
        url = url[:MAX_URL]
    return {
        "key": clean_key(row.key),
        "url": url,
        "texts": [_given(text) for text in clean_texts(row.texts)],
        "image": row.image,
        "reason": reason.value if reason else None,
        "detail": clean_line(detail)[:500] if detail else None,
    }


def _given(text: Text) -> dict[str, object]:
    """`schema.GIVEN_TEXT` of a text."""
    if isinstance(text, str):
        return {"text": text, "source": "web"}
    return {"text": text.text, "source": "web", "box": text.box, "frame": text.frame}


def batches(items: Iterable[tuple[Item, int]], settings: config.InputSettings) -> Iterator[tuple[list[Item], int]]:
    """Group (item, bytes) pairs into lists of at most chunk_rows items and, if more than one, chunk_bytes bytes."""
    batch: list[Item] = []
    total = 0
    for item, size in items:
        if batch and (len(batch) == settings.chunk_rows or total + size > settings.chunk_bytes):
            yield batch, total
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch, total


def make_part(file: InputFile, start: int, rows: int, **where: Json) -> Part:
    """Rows [start, start + rows) of `file`, for its own reader."""
    return Part(file.reader, file.location, file.identity, start, rows, where | _origin(file))


def _origin(file: InputFile) -> dict[str, Json]:
    return file.origin_of_pictures.to_json() if file.origin_of_pictures else {}


def forgotten_row(part: Part, number: int) -> Row:
    """What stands for row `number` of a part whose name `capfilt forget` took out of the plan."""
    return Row(f"forgotten {part.start + number}", reason=Reason.FORGOTTEN)


def broken_part(file: InputFile, start: int, detail: str) -> Part:
    """The one row that stands for everything lost behind the point where `file` breaks."""
    return Part(BrokenReader.name, file.location, file.identity, start, 1, {"detail": detail})


class BrokenReader(Reader):
    """Reads the parts made by `broken_part`."""

    name = "broken"
    about = "a file that breaks off: one row that says so"

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        yield broken_part(file, 0, "cannot be opened")

    def keys(self, part: Part) -> Sequence[str | None]:
        return ["broken"]

    def read(self, part: Part) -> pa.Table:
        return raw_table([Row("broken", reason=Reason.BAD_CONTAINER, detail=str(part.where["detail"]))])
