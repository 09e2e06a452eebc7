"""A stage lifted to the one row a chunk is, without Ray: nothing may get lost on the way."""

import json

import pyarrow as pa
import pytest

from capfilt.core.chunks import Chunk, Part
from capfilt.pipelines.engine.chunk_row import TRAVEL, Stage, departure, lift, pack, unpack

TABLE = pa.table({"uid": ["a", "b", "c"], "n": [1, 2, 3]})
CHUNK = Chunk("000007", (Part("lists", "x.csv", "x.csv", 0, 3, {}),))


@pytest.fixture
def row() -> pa.Table:
    return pa.Table.from_pylist([departure(CHUNK, "d") | {"payload": pack(TABLE).to_pybytes()}], TRAVEL)


def test_a_departure_as_ray_types_it_comes_as_an_empty_table() -> None:
    plain = pa.Table.from_pylist([departure(CHUNK, "d")])
    assert plain.schema.field("payload").type == pa.binary()
    assert unpack(pa.concat_tables([plain, plain]).combine_chunks().slice(1)).num_rows == 0


def test_a_stage_gets_the_table_and_the_chunk(row: pa.Table) -> None:
    seen = []

    def stage(rows: pa.Table, chunk: Chunk) -> pa.Table:
        seen.append(chunk)
        return rows.append_column("twice", pa.array([2 * n for n in rows["n"].to_pylist()]))

    after = lift(row, {"decode": stage})
    assert after.schema == TRAVEL
    assert seen == [CHUNK]
    assert unpack(after)["twice"].to_pylist() == [2, 4, 6]
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
    after = lift(row, {"decode": lambda rows, _: change(rows)})  # type: ignore[operator]
    assert "Unbalanced: stage decode lost, doubled or reordered rows" in after["error"][0].as_py()


def test_an_exception_is_the_chunk_s_error_and_later_stages_leave_it(row: pa.Table) -> None:
    def breaks(rows: pa.Table, chunk: Chunk) -> pa.Table:
        raise MemoryError("no room for 3 pictures\nsecond line")

    def must_not_be_reached(rows: pa.Table, chunk: Chunk) -> pa.Table:
        pytest.fail("a chunk with an error was touched")

    after = lift(row, {"caption": breaks, "score": must_not_be_reached})
    assert after["error"][0].as_py() == "caption: MemoryError: no room for 3 pictures"
    assert lift(after, {"score": must_not_be_reached}).equals(after)


def test_stages_in_one_place_hand_on_their_tables(row: pa.Table) -> None:
    def add(name: str) -> Stage:
        return lambda rows, _: rows.append_column(name, pa.array([len(rows.column_names)] * 3))

    after = lift(row, {"caption": add("first"), "score": add("second")})
    assert unpack(after).column_names == ["uid", "n", "first", "second"]
    assert set(json.loads(after["seconds"][0].as_py())) == {"caption", "score"}


def test_pixels_are_not_copied_to_be_looked_at(row: pa.Table) -> None:
    where = row["payload"].chunk(0).buffers()[2]
    seen = unpack(row)["n"].chunk(0).buffers()[1]
    assert where.address <= seen.address < where.address + where.size
