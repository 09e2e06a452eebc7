"""Faults at random moments, a few of them, and two that are not random; `make faults` makes a hundred and more."""

from collections.abc import Iterator
from pathlib import Path

import harness
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import DecodeSettings
from capfilt.core.schema import ROWS
from capfilt.core.storage import Folder
from capfilt.ledger.status import status
from capfilt.models.med.config import SIZES
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.stages.decode import decode

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

ROUNDS = 4


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Stage]:
    with harness.prepared(tmp_path_factory.mktemp("faults") / "stage", 270, seed=3, chunk_rows=12) as stage:
        yield stage


@pytest.fixture(scope="module")
def calm(stage: harness.Stage) -> Path:
    out = stage.folder / "calm"
    harness.undisturbed(stage, out)
    return out


def test_one_fault_of_each_kind_costs_nothing(stage: harness.Stage, calm: Path) -> None:
    kinds = stage.rng.sample(list(harness.FAULTS), k=len(harness.FAULTS))
    until = harness.commits(calm) - 4
    for number in range(ROUNDS):  # on a fast machine all is captioned before the last of them come
        with harness.disk(stage.folder / f"disturbed-{number}") as place:
            harness.disturbed(stage, place / "out", kinds, until)
            assert harness.compare(calm, place / "out") == (0, 0)
        kinds = [kind for kind in harness.FAULTS if not stage.done[kind]]
        if set(kinds) <= {"disk full"}:  # which needs leave to mount a disk
            break
        until = len(kinds) + 1  # with the first commits
    assert set(kinds) <= {"disk full"}


def test_a_row_that_kills_its_process_every_time_is_poison_and_the_others_land(
    stage: harness.Stage, calm: Path
) -> None:
    victim = pq.read_table(calm / "images", columns=["uid"])["uid"][3].as_py()
    poison = stage.folder / "poison"
    poison.write_bytes(pixels_of(calm, victim))
    out = stage.folder / "poisoned"
    harness.undisturbed(stage, out, "--limit", "8")
    poison.unlink()
    failures = pq.read_table(out / "failures").to_pylist()
    poisoned = [(row["uid"], row["stage"], row["reason"]) for row in failures if row["reason"] == "poison"]
    assert poisoned == [(victim, "caption", "poison")]
    state = status(Folder.at(out))
    assert (state.complete, state.balanced, state.rows_done, state.images) == (True, True, 8, 8 - len(failures))


def pixels_of(out: Path, uid: str) -> bytes:
    """What the captioner sees of an image."""
    images = pq.read_table(out / "images").to_pylist()
    picture = next(row["image"]["bytes"] for row in images if row["uid"] == uid)
    spec = PixelSpec(SIZES["med-tiny"].image_size, "squash")
    row = {"uid": uid, "source": "x#0", "texts": [], "image": picture}
    decoded = decode(pa.Table.from_pylist([row], ROWS), DecodeSettings(), [spec])
    return bytes(decoded[f"pixels:{spec.name}"][0].as_py())
