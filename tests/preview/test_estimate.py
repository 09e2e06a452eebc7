"""From a sample's seconds to the whole: plain arithmetic, with the seconds given."""

from dataclasses import replace

import pytest

from capfilt.core.chunks import Part
from capfilt.core.config import InputSettings, Recipe
from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome
from capfilt.pipelines.engine.chunk.stages import STAGES
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.preview import workers as module
from capfilt.preview.estimate import Timing, Workers, estimate
from capfilt.preview.sample import sample_chunks, timing_of, warm_up_rows
from capfilt.preview.workers import workers_of

SECONDS = {"fetch": 20.0, "decode": 2.0, "caption": 60.0, "score": 16.0, "commit": 2.0}
TIMING = Timing(200, SECONDS, 30.0)
ONE_BY_ONE = Workers(((STAGES, 1),), 0.0, 8)
ON_GPUS = Workers(((("fetch",), 4), (("decode", "commit"), 1), (("caption", "score"), 2)), 2.0, 8)


def outcome(chunk: str, rows: int, **seconds: float) -> ChunkOutcome:
    return ChunkOutcome(chunk, rows, rows, rows, {}, seconds, {}, "")


def recipe(*settings: str) -> Recipe:
    return load_recipe("blip", settings)


def test_one_thing_after_the_other_takes_the_sum_of_the_stages() -> None:
    whole = estimate(36_000, TIMING, ONE_BY_ONE, {"images": 1000.0, "corpus": 500.5})
    assert whole.hours == pytest.approx((30 + 36_000 * 100 / 200) / 3600)
    assert (whole.processor, whole.processor_hours) == ("CPU", pytest.approx(8 * whole.hours))
    assert whole.once == 30
    assert whole.storage == {"images": 36_000_000, "corpus": 18_018_000}


def test_side_by_side_the_slowest_lane_sets_the_pace() -> None:
    whole = estimate(36_000, TIMING, ON_GPUS, {}, 2.5)
    assert whole.slowest == "caption + score"
    assert whole.hours == pytest.approx((30 + 36_000 * 76 / 200 / 2) / 3600)
    assert (whole.processor, whole.processor_hours) == ("GPU", pytest.approx(2 * whole.hours))
    assert whole.price == pytest.approx(5 * whole.hours)
    slow_web = Timing(200, SECONDS | {"fetch": 400.0}, 30.0)
    assert estimate(36_000, slow_web, ON_GPUS, {}).slowest == "fetch"


def test_without_a_gpu_there_is_no_money() -> None:
    assert estimate(1000, TIMING, ONE_BY_ONE, {}, 2.5).price is None
    assert estimate(1000, TIMING, ON_GPUS, {}).price is None


def test_what_is_done_but_once_is_no_part_of_the_pace() -> None:
    first = outcome("000000", 10, fetch=9.0, decode=2.0, caption=8.0, score=1.0, commit=0.1)
    rest = [outcome(f"00000{n}", 100, fetch=5.0, decode=1.0, caption=10.0, score=5.0, commit=1.0) for n in (1, 2)]
    timing = timing_of([first, *rest], start=12.0)
    assert (timing.rows, timing.seconds["caption"]) == (200, 20.0)
    # decode 2.0 - 0.1, caption 8.0 - 1.0, score 1.0 - 0.5; a slow site in the first chunk is none of it
    assert timing.once == pytest.approx(12 + 1.9 + 7.0 + 0.5)


def test_a_first_chunk_alone_must_do() -> None:
    timing = timing_of([outcome("000000", 3, caption=6.0)], start=1.0)
    assert (timing.rows, timing.per_row("caption"), timing.once) == (3, 2.0, 1.0)


@pytest.mark.parametrize(
    ("rows", "chunk_rows", "warm"),
    [(3, 256, 0), (40, 256, 10), (100, 256, 16), (300, 256, 44), (600, 100, 100), (530, 100, 30), (105, 100, 16)],
)
def test_whole_chunks_follow_the_one_that_warms_up(rows: int, chunk_rows: int, warm: int) -> None:
    assert warm_up_rows(rows, chunk_rows) == warm


def test_the_chunks_of_a_sample_hold_its_rows_once() -> None:
    parts = [Part("lists", "f", "f", 16 * number, 1 + number % 2, {"bytes": 10}) for number in range(200)]
    chunks = sample_chunks(parts, InputSettings(chunk_rows=100), seed=3)
    assert [chunk.name for chunk in chunks] == [f"{number:06d}" for number in range(len(chunks))]
    sizes = [chunk.rows for chunk in chunks]
    assert sum(sizes) == 300
    assert max(sizes) - min(sizes) <= 2  # of some blocks two rows are taken, and a block is not split
    assert sorted(part.start for chunk in chunks for part in chunk.parts) == [part.start for part in parts]
    assert sample_chunks(parts, InputSettings(chunk_rows=100), seed=3) == chunks


def test_a_local_run_is_one_lane_of_all_stages() -> None:
    workers = workers_of(recipe("engine.kind='local'", "caption.n=0", "score.judges=[]"), 10)
    assert workers.lanes == ((STAGES, 1),)
    assert workers.gpus == workers.start == 0


def test_on_ray_without_gpus_models_and_decoding_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 6)
    workers = workers_of(recipe("engine.device='cpu'", "engine.workers=3"), 100)
    assert workers.lanes == ((("fetch",), 6), (("decode", "caption", "score", "commit"), 1))
    assert (workers.gpus, workers.cores) == (0, 6)


def test_the_start_of_ray_is_part_of_the_time() -> None:
    workers = workers_of(recipe("engine.device='cpu'"), 100)
    whole = estimate(36_000, TIMING, workers, {})
    assert workers.start > 0
    assert whole.once == TIMING.once + workers.start
    at_once = estimate(36_000, TIMING, replace(workers, start=0), {})
    assert whole.hours == pytest.approx(at_once.hours + workers.start / 3600)


def test_on_ray_with_gpus_each_kind_of_actor_is_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "uses_gpu", lambda _: True)
    workers = workers_of(recipe("engine.workers=4", "engine.split=true", "engine.judge_workers=2"), 100)
    assert workers.lanes[1:] == ((("decode", "commit"), 1), (("caption",), 4), (("score",), 2))
    assert workers.gpus == 6
