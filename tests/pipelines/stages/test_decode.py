"""The stage: rows in = rows out, in order; dead rows as they were; the same result however many threads."""

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from capfilt.core.config import DecodeSettings
from capfilt.core.schema import IMAGE_FACTS, ROWS
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.pixel_budget import PixelBudget
from capfilt.pipelines.stages.decode import decode
from decoding import rows_of
from pictures import encoded

SPECS = (PixelSpec(48), PixelSpec(32, "crop"))


@pytest.fixture(scope="module")
def mixed() -> pa.Table:
    """Good and bad images, and one row that died before (row 2)."""
    pictures = [encoded(Image.effect_noise((200 + i, 150), 90).convert("RGB"), "JPEG") for i in range(12)]
    rows = rows_of(pictures[0], b"<html>", pictures[1], pictures[2][:900], b"", *pictures[3:]).to_pylist()
    rows[2] |= {"stage": "fetch", "reason": "timeout", "detail": "20 s"}
    return pa.Table.from_pylist(rows, schema=ROWS)


def test_columns_order_and_number(mixed: pa.Table) -> None:
    out = decode(mixed, DecodeSettings(), SPECS)
    pixels = [("pixels:squash-48", pa.binary(48 * 48 * 3)), ("pixels:crop-32", pa.binary(32 * 32 * 3))]
    assert out.schema == pa.schema([*ROWS, *IMAGE_FACTS, *(pa.field(*column) for column in pixels)])
    assert out["uid"] == mixed["uid"]
    assert out["source"] == mixed["source"]
    assert out["texts"] == mixed["texts"]
    out.validate(full=True)


def test_every_row_has_facts_or_a_reason(mixed: pa.Table) -> None:
    rows = decode(mixed, DecodeSettings(), SPECS).to_pylist()
    assert [row["reason"] for row in rows[:6]] == [None, "not_an_image", "timeout", "truncated", "empty", None]
    for row, before in zip(rows, mixed.to_pylist(), strict=True):
        added = [row[name] for name in (*IMAGE_FACTS.names, "pixels:squash-48", "pixels:crop-32")]
        if row["reason"] is None:
            assert None not in added
            assert row["image"] == before["image"]
            assert row["sha256"] == hashlib.sha256(before["image"]).hexdigest()
        else:
            assert set(added) == {None}


def test_dead_rows_stay_as_they_were(mixed: pa.Table) -> None:
    assert decode(mixed, DecodeSettings(), SPECS).select(ROWS.names).slice(2, 1).equals(mixed.slice(2, 1))


def test_rows_that_die_here_let_go_of_their_bytes(mixed: pa.Table) -> None:
    rows = decode(mixed, DecodeSettings()).to_pylist()
    dying = [row for row in rows if row["stage"] == "decode"]
    assert len(dying) == 3
    assert all(row["image"] is None and row["detail"] for row in dying)


def test_the_number_of_threads_changes_nothing(mixed: pa.Table) -> None:
    results = [decode(mixed, DecodeSettings(), SPECS, threads) for threads in (1, 2, 7, None)]
    assert all(result.equals(results[0]) for result in results)


def test_chunked_and_sliced_tables(mixed: pa.Table) -> None:
    whole = decode(mixed, DecodeSettings(), SPECS)
    pieces = pa.concat_tables([mixed.slice(0, 3), mixed.slice(3, 4), mixed.slice(7)])
    assert decode(pieces, DecodeSettings(), SPECS).equals(whole)
    assert decode(mixed.slice(3, 5), DecodeSettings(), SPECS).equals(whole.slice(3, 5))


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows(count: int, mixed: pa.Table) -> None:
    out = decode(mixed.slice(0, count), DecodeSettings(), SPECS)
    assert out.num_rows == count
    assert out.schema.names[-2:] == ["pixels:squash-48", "pixels:crop-32"]


def test_the_same_pixels_twice_are_one_column(mixed: pa.Table) -> None:
    out = decode(mixed, DecodeSettings(), [PixelSpec(16), PixelSpec(16, "squash")])
    assert [name for name in out.column_names if name.startswith("pixels")] == ["pixels:squash-16"]


@pytest.mark.slow
def test_decodes_at_the_same_time_keep_to_their_own_cap(mixed: pa.Table) -> None:
    reasons: dict[int, set[Any]] = {}
    many = pa.concat_tables([mixed.slice(5)] * 20)

    def run(cap: int) -> None:
        reasons[cap] = set(decode(many, DecodeSettings(max_pixels=cap))["reason"].to_pylist())

    threads = [threading.Thread(target=run, args=(cap,)) for cap in (100, 1_000_000, 200, 2_000_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reasons == {100: {"too_many_pixels"}, 200: {"too_many_pixels"}, 1_000_000: {None}, 2_000_000: {None}}


def test_room_is_never_overfull_and_never_stuck() -> None:
    room, inside, most = PixelBudget(100), [], [0]

    def work(pixels: int) -> None:
        with room.held(pixels):
            inside.append(pixels)
            most[0] = max(most[0], sum(inside) if len(inside) > 1 else 0)
            time.sleep(0.002)
            inside.remove(pixels)

    threads = [threading.Thread(target=work, args=(pixels,)) for pixels in (60, 50, 250, 40, 100, 10) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    assert 0 < most[0] <= 100


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "bad"), [("malformed", None), ("photos", 0)])
def test_real_files(folder: str, bad: int | None, shared_data: Path) -> None:
    files = sorted(path for path in (shared_data / folder).rglob("*") if path.is_file())
    if folder == "photos":
        files = [path for path in files if path.suffix == ".jpg"]
    assert len(files) > 100
    rows = rows_of(*(path.read_bytes() for path in files))
    out = decode(rows, DecodeSettings(), SPECS)
    assert out.num_rows == len(files)
    for row in out.to_pylist():
        alive = row["reason"] is None
        assert alive == (row["sha256"] is not None) == (row["pixels:crop-32"] is not None)
        assert alive or (row["stage"] == "decode" and 0 < len(row["detail"]) <= 200 and row["detail"].isprintable())
    dead = out["reason"].length() - out["reason"].null_count
    assert dead == bad if bad is not None else 0 < dead < len(files)
