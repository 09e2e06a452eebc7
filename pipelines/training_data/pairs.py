"""What to train on: Parquet with images and their texts, such as the `corpus/` of a run.

Texts are read into memory, flat; pixels too where they fit, else they are decoded when a step asks for them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from capfilt.core.errors import ConfigError, InputError
from capfilt.core.schema import BOX, TEXT
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.geometry.boxes import has_area
from capfilt.pipelines.training_data.parquet_files import opened, parquet_files
from capfilt.pipelines.training_data.pixel_store import ImageIndex, Pixels, RowGroup, decode_all
from capfilt.pipelines.training_data.sampler import SOURCES, Draw, Numbers, Texts
from capfilt.pipelines.training_data.talks import QUESTION, TalksByUid, each_alone, read_talks

MEMORY: Final = 4_000_000_000
"""Bytes of pixels that are held in memory; more are decoded again each time."""

REGIONS: Final = "regions"
"""What stands for captions with their boxes."""

TALKS: Final = "talks"
"""What stands for talks: of a table of their own, or every question of the data as one."""

IMAGES_ALONE: Final = "images"
"""What stands for a column where no text is wanted."""

COLUMNS: Final = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])),  # or plain bytes
        ("captions", pa.list_(TEXT)),  # right texts: web, synthetic or human; may have scores beside
        ("wrong", pa.list_(pa.string())),  # texts that people marked as not matching; may be missing
        ("questions", pa.list_(QUESTION)),  # of visual question answering; may be missing
        ("uid", pa.string()),  # the same uid = the same image; may be missing
    ]
)
"""The columns that count. A run's `corpus/` has image, captions and uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is read."""

    column: str = "captions"  # or questions; regions = captions with boxes; talks; images = without texts
    talks: str = ""  # a table of `talks.TALKS`; "" = every question of the data is a talk
    sources: tuple[str, ...] = SOURCES
    score: str = ""  # a field of a caption, such as itm; "" = none
    pixels: PixelSpec
    memory: int = MEMORY


@dataclass(frozen=True, slots=True)
class TrainingPairs:
    """N images and M texts of them, flat."""

    shelf: ImageIndex
    pictures: Numbers  # [N], numbers on the shelf
    held: Pixels | None  # uint8 [N, S, S, 3]; None = too many
    keys: Numbers  # [N], the same number = the same image
    texts: Texts
    words: pa.Array  # [M] captions, structs of QUESTION, or lists of them: TALK
    wrong: pa.Array  # [W]
    wrong_starts: Numbers  # [N + 1]
    left_out: dict[str, int]  # images, by reason

    def __len__(self) -> int:
        return len(self.pictures)

    def pixels(self, numbers: Numbers) -> Pixels:
        """uint8 [n, S, S, 3] of images 0 .. N - 1."""
        return self.shelf.read(self.pictures[numbers]) if self.held is None else self.held[numbers]

    def texts_of(self, draw: Draw) -> list[Any]:
        """The texts of a draw, or questions with their answers."""
        return list(self.words.take(pa.array(draw.texts)).to_pylist())

    def wrong_of(self, draw: Draw) -> list[list[str]]:
        """The texts marked as wrong of a draw."""
        return [self.wrong.take(pa.array(row, pa.int64())).to_pylist() for row in draw.wrong]


def load_pairs(locations: Sequence[str], wanted: Wanted) -> TrainingPairs:
    """Read the pairs of Parquet files or folders; what is left out is counted.

    Raises:
        InputError: nothing there, no such column, or no image that can be used.
        ConfigError: a score that no caption has.
    """
    files = [file for location in locations for file in parquet_files(location)]
    talks = read_talks(wanted.talks) if wanted.talks else None
    table = pa.concat_tables([_read_texts(file, wanted, talks) for file in files])
    scores = pc.struct_field(pc.list_flatten(table["texts"]), "score")
    if wanted.score and scores.null_count == len(scores):
        raise ConfigError(f"data.score = {wanted.score!r}: no caption has this score")
    if wanted.column == REGIONS and not _boxes(table):
        raise InputError(f"{' '.join(locations)}: no caption has a box (captions.box), and regions are to be learned")
    shelf = ImageIndex(_places(files), wanted.pixels)
    counts = pc.list_value_length(table["texts"]).to_numpy()
    held: Pixels | None = None
    reasons: Sequence[str | None] = [None] * len(counts)
    if len(counts) * wanted.pixels.bytes <= wanted.memory:
        held, reasons = decode_all(shelf.places, wanted.pixels)
    why = [
        reason or (None if count else _untold(wanted)) for reason, count in zip(reasons, counts.tolist(), strict=True)
    ]
    left_out = Counter(reason for reason in why if reason)
    keep = np.array([row for row, reason in enumerate(why) if reason is None], np.int64)
    if not len(keep):
        (reason, _), *_ = [*left_out.most_common(1), ("there are no rows", 0)]
        raise InputError(f"{' '.join(locations)}: no image can be used: {reason}")
    return _pairs(table, shelf, keep, held, left_out)


def _untold(wanted: Wanted) -> str:
    """Why an image has no text that is wanted."""
    if wanted.talks:
        return "no talk of its uid (data.talks)"
    if wanted.column in ("questions", TALKS):
        return "no question with an answer"
    return f"no text of source {' or '.join(wanted.sources)} (data.sources)"


def _boxes(table: pa.Table) -> int:
    """Captions with a box."""
    boxes = pc.struct_field(pc.struct_field(pc.list_flatten(table["texts"]), "word"), "box")
    return len(boxes) - int(boxes.null_count)


def _places(files: Sequence[str]) -> tuple[RowGroup, ...]:
    places: list[RowGroup] = []
    first = 0
    for file in files:
        with opened(file) as parquet:
            groups = parquet.metadata
            for group in range(groups.num_row_groups):
                places.append(RowGroup(file, group, first, groups.row_group(group).num_rows))
                first += places[-1].rows
    return tuple(places)


def _read_texts(file: str, wanted: Wanted, talks: TalksByUid | None) -> pa.Table:
    """One row an image: `texts` (word, source, score) of the wanted sources, `wrong`, and `uid` or null."""
    with opened(file) as parquet:
        names = parquet.schema_arrow.names
        column = "uid" if talks else {REGIONS: "captions", TALKS: "questions"}.get(wanted.column, wanted.column)
        needed = {"image"} if column == IMAGES_ALONE else {"image", column}
        if missing := sorted(needed - set(names)):
            other = " (or set data.talks)" if wanted.column == TALKS and not talks else ""
            raise InputError(f"{file}: no column {', '.join(missing)}{other}; there are {', '.join(names)}")
        if column == IMAGES_ALONE:
            return _without_texts(parquet, "uid" in names)
        table = parquet.read([name for name in dict.fromkeys((column, "wrong", "uid")) if name in names])
    if talks:
        lists = talks.of(table["uid"].combine_chunks().cast(pa.string()))
    else:
        check_captions(table.schema, column, file)
        lists = table[column].combine_chunks()
    values, owner = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    read = {"questions": _questions, REGIONS: _regions, TALKS: _joined if talks else _talks}.get(
        wanted.column, _captions
    )
    texts, good = read(values, wanted, file)
    counts = np.bincount(owner[good], minlength=len(lists))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    wrong = table["wrong"].combine_chunks() if "wrong" in names else pa.nulls(len(lists), pa.list_(pa.string()))
    columns = {
        "texts": pa.ListArray.from_arrays(starts, texts.filter(pa.array(good))),
        "wrong": pc.fill_null(wrong.cast(pa.list_(pa.string())), pa.scalar([], pa.list_(pa.string()))),
        "uid": table["uid"].combine_chunks().cast(pa.string()) if "uid" in names else pa.nulls(len(lists), pa.string()),
    }
    return pa.table(columns)


def _without_texts(parquet: pq.ParquetFile, named: bool) -> pa.Table:
    """The same of images whose texts do not count: an empty text each, so that a draw has one."""
    count = parquet.metadata.num_rows
    empty = [pa.array([""] * count), pa.array(np.zeros(count, np.int8)), pa.nulls(count, pa.float32())]
    texts = pa.StructArray.from_arrays(empty, ["word", "source", "score"])
    wrong = pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.string()))
    uid = parquet.read(["uid"])["uid"].combine_chunks().cast(pa.string()) if named else pa.nulls(count, pa.string())
    starts = pa.array(np.arange(count + 1, dtype=np.int32))
    return pa.table({"texts": pa.ListArray.from_arrays(starts, texts), "wrong": wrong, "uid": uid})


def check_captions(columns: pa.Schema, name: str, file: str) -> None:
    """Make sure that a column holds captions, or questions.

    Raises:
        InputError: it is no list of structs, or captions lack their text or source.
    """
    kind = columns.field(name).type
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        raise InputError(f"{file}: column {name} is {kind}, not a list of {name}")
    names = [field.name for field in kind.value_type]
    if name == "captions" and (missing := sorted({"text", "source"} - set(names))):
        raise InputError(f"{file}: captions have no {', '.join(missing)}; they have {', '.join(names)}")


def _captions(values: pa.StructArray, wanted: Wanted, file: str) -> tuple[pa.StructArray, NDArray[np.bool_]]:
    """word, source, score of every caption, and which are wanted."""
    names = [field.name for field in values.type]
    words, sources = pc.struct_field(values, "text"), pc.struct_field(values, "source")
    scored = wanted.score in names
    scores = pc.struct_field(values, wanted.score) if scored else pa.nulls(len(values))
    fields = [words, pc.index_in(sources, pa.array(SOURCES)).cast(pa.int8()), scores.cast(pa.float32())]
    # A text of blanks or signs alone is empty after its clean-up: a captioner would learn to say nothing.
    worded = pc.fill_null(pc.match_substring_regex(words, r"[\pL\pN]"), False)
    good = pc.and_(pc.is_in(sources, pa.array(wanted.sources)), worded).to_numpy(zero_copy_only=False)
    return pa.StructArray.from_arrays(fields, ["word", "source", "score"]), good


def _regions(values: pa.StructArray, wanted: Wanted, file: str) -> tuple[pa.StructArray, NDArray[np.bool_]]:
    """The same of captions with their boxes, null where a caption is about the whole image."""
    texts, good = _captions(values, wanted, file)
    boxes = _own_boxes(values, file)
    held = np.array([box is None or (len(box) == 4 and has_area(box)) for box in boxes.to_pylist()], bool)
    regions = pa.StructArray.from_arrays([texts.field("word"), boxes], ["text", "box"])
    fields = [regions, texts.field("source"), texts.field("score")]
    return pa.StructArray.from_arrays(fields, ["word", "source", "score"]), good & held


def _own_boxes(values: pa.StructArray, file: str) -> pa.Array:
    """`schema.BOX` of every caption.

    Raises:
        InputError: they are no lists of numbers, or are in pixels.
    """
    if "box" not in [field.name for field in values.type]:
        return pa.nulls(len(values), BOX)
    said = pc.struct_field(values, "box")
    try:
        boxes = said.cast(BOX)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{file}: captions.box is {said.type}, not a list of four numbers") from error
    numbers = pc.list_flatten(boxes).to_numpy(zero_copy_only=False)
    odd = numbers[~((numbers > -0.01) & (numbers < 1.01))]  # NaN is neither
    if len(odd):
        raise InputError(f"{file}: captions.box has {odd[0]:g}; left, top, right, bottom go from 0 to 1, as shares")
    return boxes


def _questions(values: pa.StructArray, wanted: Wanted, file: str) -> tuple[pa.StructArray, NDArray[np.bool_]]:
    """The same of every question; all are human, and those without an answer are not wanted."""
    try:
        words = values.cast(QUESTION)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{file}: column questions is no list of question and answers") from error
    sources = pa.array(np.full(len(words), SOURCES.index("human"), np.int8))
    answers = pc.fill_null(pc.list_value_length(pc.struct_field(words, "answers")), 0).to_numpy(zero_copy_only=False)
    fields = [words, sources, pa.nulls(len(words), pa.float32())]
    return pa.StructArray.from_arrays(fields, ["word", "source", "score"]), answers > 0


def _talks(values: pa.StructArray, wanted: Wanted, file: str) -> tuple[pa.StructArray, NDArray[np.bool_]]:
    """The same of every question as a talk of its own."""
    texts, good = _questions(values, wanted, file)
    fields = [each_alone(texts.field("word")), texts.field("source"), texts.field("score")]
    return pa.StructArray.from_arrays(fields, ["word", "source", "score"]), good


def _joined(values: pa.ListArray, wanted: Wanted, file: str) -> tuple[pa.StructArray, NDArray[np.bool_]]:
    """The same of the talks of another table; all are synthetic, and wanted."""
    sources = pa.array(np.full(len(values), SOURCES.index("synthetic"), np.int8))
    fields = [values, sources, pa.nulls(len(values), pa.float32())]
    return pa.StructArray.from_arrays(fields, ["word", "source", "score"]), np.ones(len(values), bool)


def _pairs(
    table: pa.Table, shelf: ImageIndex, keep: Numbers, held: Pixels | None, left_out: dict[str, int]
) -> TrainingPairs:
    kept = table.take(pa.array(keep))
    texts, wrong = kept["texts"].combine_chunks(), kept["wrong"].combine_chunks()
    words, sources, scores = (pc.struct_field(texts.flatten(), name) for name in ("word", "source", "score"))
    facts = Texts(_starts(texts), sources.to_numpy(), scores.fill_null(np.nan).to_numpy())
    keys = np.array([_key(uid, int(number)) for uid, number in zip(kept["uid"].to_pylist(), keep, strict=True)])
    own = held if held is None or len(held) == len(keep) else held[keep]
    return TrainingPairs(shelf, keep, own, keys, facts, words, wrong.flatten(), _starts(wrong), dict(left_out))


def _starts(lists: pa.ListArray) -> Numbers:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _key(uid: str | None, number: int) -> int:
    # >> 1: keys are signed.
    return number if uid is None else int.from_bytes(blake2b(uid.encode(), digest_size=8).digest(), "little") >> 1
