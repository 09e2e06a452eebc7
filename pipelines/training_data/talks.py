"""Talks about images: questions with their answers, one after the other, in a table of their own that names uids.

`capfilt export --instruct` writes such a table; a training joins it to the images of a run.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capfilt.core.errors import InputError
from capfilt.pipelines.training_data.parquet_files import opened, parquet_files

QUESTION: Final = pa.struct([("question", pa.string()), ("answers", pa.list_(pa.string()))])
"""A question about an image; the same answer twice counts twice."""

TALK: Final = pa.list_(QUESTION)
"""Questions about an image; each may build on those before."""

TURN: Final = pa.struct([("question", pa.string()), ("answer", pa.string())])

TALKS: Final = pa.schema(
    [
        ("uid", pa.string()),  # of the image
        ("form", pa.string()),  # conversation, detail or reasoning
        ("turns", pa.list_(TURN)),
    ]
)
"""The columns of the table; `form` may be missing. An image may have many rows."""

NEEDED: Final = ("uid", "turns")


@dataclass(frozen=True, slots=True)
class TalksByUid:
    """The talks of U images."""

    uids: pa.Array  # [U]
    talks: pa.ListArray  # [U], each a list of `TALK`

    def of(self, uids: pa.Array) -> pa.ListArray:
        """The talks of images, null where an image has none."""
        return self.talks.take(pc.index_in(uids, value_set=self.uids))


def read_talks(location: str) -> TalksByUid:
    """The talks of a Parquet file or folder, by image; one with an empty question or answer is left out.

    Raises:
        InputError: there are none, or no such columns.
    """
    try:
        table = pa.concat_tables([_read(file) for file in parquet_files(location)]).combine_chunks()
    except InputError as error:
        raise InputError(f"data.talks: {error}") from error
    kept = table.filter(pa.array(_whole(table["turns"].combine_chunks())))
    if not len(kept):
        raise InputError(f"data.talks = {location!r}: no talk in it")
    codes = pc.dictionary_encode(kept["uid"].combine_chunks())
    numbers = codes.indices.to_numpy()
    starts = np.concatenate([[0], np.cumsum(np.bincount(numbers))]).astype(np.int32)
    ordered = kept["turns"].combine_chunks().take(pa.array(np.argsort(numbers, kind="stable")))
    return TalksByUid(codes.dictionary, pa.ListArray.from_arrays(starts, _as_talks(ordered)))


def each_alone(questions: pa.Array) -> pa.ListArray:
    """Every `QUESTION` as a `TALK`."""
    return pa.ListArray.from_arrays(np.arange(len(questions) + 1, dtype=np.int32), questions)


def _read(file: str) -> pa.Table:
    with opened(file) as parquet:
        names = parquet.schema_arrow.names
        if missing := [name for name in NEEDED if name not in names]:
            raise InputError(f"{file}: no column {', '.join(missing)}; there are {', '.join(names)}")
        table = parquet.read(list(NEEDED))
    try:
        return table.cast(pa.schema([TALKS.field(name) for name in NEEDED]))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{file}: turns is no list of question and answer") from error


def _whole(turns: pa.ListArray) -> NDArray[np.bool_]:
    """bool of every talk: it has turns, each with a question and an answer."""
    said = turns.flatten()
    filled = np.ones(len(said), bool)
    for part in ("question", "answer"):
        length = pc.fill_null(pc.utf8_length(pc.struct_field(said, part)), 0)
        filled &= length.to_numpy(zero_copy_only=False) > 0
    count: NDArray[np.int64] = pc.fill_null(pc.list_value_length(turns), 0).to_numpy(zero_copy_only=False)
    good = np.bincount(pc.list_parent_indices(turns).to_numpy()[filled], minlength=len(turns))
    whole: NDArray[np.bool_] = (count > 0) & (good == count)
    return whole


def _as_talks(turns: pa.ListArray) -> pa.ListArray:
    """`TALKS.turns` without nulls as `TALK`: one answer a question."""
    said = turns.flatten()
    answers = each_alone(pc.struct_field(said, "answer"))
    questions = pa.StructArray.from_arrays([pc.struct_field(said, "question"), answers], fields=list(QUESTION))
    counts = pc.list_value_length(turns).to_numpy()
    return pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), questions)
