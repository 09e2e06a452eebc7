"""Stages applied to the one row that a chunk is: nothing may get lost on the way."""

import json

import pyarrow as pa
import pytest

from capfilt.core.chunks import Chunk, Part
from capfilt.pipelines.engine.chunk.chunk_row import CHUNK_ROW, PlannedChunk, Stage, new_row, pack, run_stages, unpack

TABLE = pa.table({"uid": ["a", "b", "c"], "n": [1, 2, 3]})
CHUNK = Chunk("000007", (Part("lists", "x.csv", "x.csv", 0, 3, {}),))
PLANNED = PlannedChunk(CHUNK, "d")


@pytest.fixture
def row() -> pa.Table:
    return pa.Table.from_pylist([new_row(PLANNED) | {"payload": pack(TABLE).to_pybytes()}], CHUNK_ROW)


def test_a_new_row_as_ray_types_it_holds_an_empty_table() -> None:
    plain = pa.Table.from_pylist([new_row(PLANNED)])
    assert plain.schema.field("payload").type == pa.binary()
    assert unpack(pa.concat_tables([plain, plain]).combine_chunks().slice(1)).num_rows == 0


def test_a_stage_gets_the_table_and_the_chunk(row: pa.Table) -> None:
    seen = []

    def stage(rows: pa.Table, planned: PlannedChunk) -> pa.Table:
        seen.append(planned)
        return rows.append_column("twice", pa.array([2 * n for n in rows["n"].to_pylist()]))

    after = run_stages(row, {"decode": stage})
    assert after.schema == CHUNK_ROW
    assert seen == [PLANNED]
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
    after = run_stages(row, {"decode": lambda rows, _: change(rows)})  # type: ignore[operator]
    assert "IntegrityError: stage decode lost, doubled or reordered rows" in after["error"][0].as_py()


def test_an_exception_is_the_chunk_s_error_and_later_stages_leave_it(row: pa.Table) -> None:
    def breaks(rows: pa.Table, planned: PlannedChunk) -> pa.Table:
        raise MemoryError("no room for 3 pictures\nsecond line")

    def must_not_be_reached(rows: pa.Table, planned: PlannedChunk) -> pa.Table:
        pytest.fail("a chunk with an error was touched")

    after = run_stages(row, {"caption": breaks, "score": must_not_be_reached})
    assert after["error"][0].as_py() == "caption: MemoryError: no room for 3 pictures"
    assert run_stages(after, {"score": must_not_be_reached}).equals(after)


def test_stages_in_one_place_hand_on_their_tables(row: pa.Table) -> None:
    def add(name: str) -> Stage:
        return lambda rows, _: rows.append_column(name, pa.array([len(rows.column_names)] * 3))

    after = run_stages(row, {"caption": add("first"), "score": add("second")})
    assert unpack(after).column_names == ["uid", "n", "first", "second"]
    assert set(json.loads(after["seconds"][0].as_py())) == {"caption", "score"}


def test_pixels_are_not_copied_to_be_looked_at(row: pa.Table) -> None:
    where = row["payload"].chunk(0).buffers()[2]
    seen = unpack(row)["n"].chunk(0).buffers()[1]
    assert where.address <= seen.address < where.address + where.size
