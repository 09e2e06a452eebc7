"""marks: what a person said of a text while looking, right or wrong; kept in marks/, one Parquet file a session.

Every file holds one row a key press. Of all rows of one candidate, in whichever file, the latest counts; one whose
`right` is null takes the mark back. So two people may mark at the same time, and nothing is ever lost by appending.
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table

MARKS: Final = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("candidate", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # as it was seen
        ("right", pa.bool_()),  # null: the mark is taken back
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
"""The tables of marks/."""


def read_marks(folder: Folder) -> pa.Table:
    """`MARKS` that hold, at most one a candidate, sorted by uid and candidate; `right` is never null."""
    tables = [_read(folder, name) for name in folder.names("marks", ".parquet")]
    every = pa.concat_tables([MARKS.empty_table(), *tables]).sort_by([("time", "ascending")])  # equal times: as written
    keys = zip(every["uid"].to_pylist(), every["candidate"].to_pylist(), strict=True)
    latest = {key: row for row, key in enumerate(keys)}
    held = every.take(pa.array(latest.values(), pa.int64()))
    return held.filter(pc.is_valid(held["right"])).sort_by([("uid", "ascending"), ("candidate", "ascending")])


def read_labels(folder: Folder) -> pa.Table:
    """The marks as labeled pairs: uid, candidate, label (is the text right?)."""
    return read_marks(folder).select(["uid", "candidate", "right"]).rename_columns(["uid", "candidate", "label"])


def _new_name() -> str:
    return f"marks/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.parquet"


@dataclass(frozen=True)
class MarkBook:
    """The marks of one session; safe to call from several threads."""

    folder: Folder
    name: str = field(default_factory=_new_name)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def mark(self, uid: str, candidate: int, text: str, right: bool | None) -> None:
        """Add one row; it is on disk when this returns.

        The file is read anew each time: `forget` may have taken rows out of it since the last mark.
        """
        row = {"uid": uid, "candidate": candidate, "text": text, "right": right, "time": datetime.now(UTC)}
        with self._writing:
            before = _read(self.folder, self.name) if self.folder.exists(self.name) else MARKS.empty_table()
            after = pa.concat_tables([before, pa.Table.from_pylist([row], MARKS)])
            self.folder.write(self.name, parquet_bytes(after.combine_chunks()))

    def drop(self, gone: Callable[[str], bool]) -> None:
        """Take out the marks of these uids."""
        with self._writing:
            if not self.folder.exists(self.name):
                return
            rows = _read(self.folder, self.name)
            kept = rows.filter(pa.array([not gone(uid) for uid in rows["uid"].to_pylist()], pa.bool_()))
            if kept.num_rows < rows.num_rows:
                self.folder.write(self.name, parquet_bytes(kept.combine_chunks()))


def _read(folder: Folder, name: str) -> pa.Table:
    return read_table(folder, name, schema=MARKS)
