"""A stage lifted to the one row a chunk is, without Ray: nothing may get lost on the way."""

import pyarrow as pa
import pytest

from capfilt.ledger import Chunk, Part
from capfilt.pipelines.engine import TRAVEL, _pack, _unpack, lift

TABLE = pa.table({"uid": ["a", "b", "c"], "n": [1, 2, 3]})
CHUNK = Chunk("000007", (Part("lists", "x.csv", "x.csv", 0, 3, {}),))


@pytest.fixture
def row() -> pa.Table:
    values = {"chunk": CHUNK.name, "spec": CHUNK.to_json(), "digest": "d", "payload": _pack(TABLE), "error": ""}
    return pa.Table.from_pylist([values | {"seconds": "{}"}], TRAVEL)


def test_a_stage_gets_the_table_and_the_chunk(row: pa.Table) -> None:
    seen = []

    def stage(rows: pa.Table, chunk: Chunk) -> pa.Table:
        seen.append(chunk)
        return rows.append_column("twice", pa.array([2 * n for n in rows["n"].to_pylist()]))

    after = lift("decode", stage, row)
    assert after.schema == TRAVEL
    assert seen == [CHUNK]
    assert _unpack(after["payload"][0].as_py())["twice"].to_pylist() == [2, 4, 6]
    assert '"decode"' in after["seconds"][0].as_py()


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.slice(1),
        lambda rows: pa.concat_tables([rows, rows]),
        lambda rows: rows.take([1, 0, 2]),
        lambda rows: rows.slice(0, 0),
    ],
    ids=["lost", "doubled", "reordered", "all lost"],
)
def test_a_stage_that_does_not_give_the_rows_it_got_is_found_out(row: pa.Table, change: object) -> None:
    after = lift("decode", lambda rows, _: change(rows), row)  # type: ignore[operator]
    assert "Unbalanced: stage decode lost, doubled or reordered rows" in after["error"][0].as_py()


def test_an_exception_is_the_chunk_s_error_and_later_stages_leave_it(row: pa.Table) -> None:
    def breaks(rows: pa.Table, chunk: Chunk) -> pa.Table:
        raise MemoryError("no room for 3 pictures\nsecond line")

    after = lift("caption", breaks, row)
    assert after["error"][0].as_py() == "caption: MemoryError: no room for 3 pictures"
    assert lift("score", breaks, after).equals(after)
