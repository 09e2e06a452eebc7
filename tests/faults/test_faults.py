"""A bounded round of the fault harness (`make faults` is the long one), and the two ends that are not random."""

import signal
import time
from pathlib import Path

import harness
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.config import Decode
from capfilt.models.med.config import SIZES
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.decode import decode
from capfilt.schema import ROWS
from capfilt.status import status
from capfilt.storage import Folder

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def test_ten_faults_and_the_same_bytes(tmp_path: Path) -> None:
    done = harness.survive(tmp_path / "stage", faults=10, a_round=11, rows=harness.ROWS, seed=1)
    assert done.total() >= 10
    assert len(done) >= 8, "of eleven kinds nearly all should have found their moment"


def test_sigterm_ends_a_run_that_can_go_on(tmp_path: Path) -> None:
    with harness.prepared(tmp_path / "stage", 200, 0) as stage:
        out = tmp_path / "out"
        with harness.driver(stage, out) as process:
            until = time.monotonic() + 200
            while not harness.commits(out) and time.monotonic() < until:
                time.sleep(0.02)
            process.terminate()
            assert process.wait(60) == 128 + signal.SIGTERM
        state = status(Folder.at(out))
        assert 0 < state.chunks_done < state.chunks
        harness.undisturbed(stage, out)
        assert status(Folder.at(out)).complete


def test_a_row_that_kills_its_process_every_time_is_poison_and_the_others_land(tmp_path: Path) -> None:
    with harness.prepared(tmp_path / "stage", 80, 0) as stage:
        harness.undisturbed(stage, tmp_path / "calm")
        victim = pq.read_table(tmp_path / "calm" / "images", columns=["uid"])["uid"][7].as_py()
        (stage.folder / "poison").write_bytes(pixels_of(tmp_path / "calm", victim))
        out = tmp_path / "out"
        harness.undisturbed(stage, out)
    failures = pq.read_table(out / "failures").to_pylist()
    poisoned = [(row["uid"], row["stage"], row["reason"]) for row in failures if row["reason"] == "poison"]
    assert poisoned == [(victim, "caption", "poison")]
    calm, state = status(Folder.at(tmp_path / "calm")), status(Folder.at(out))
    assert (state.complete, state.images) == (True, calm.images - 1)


def pixels_of(out: Path, uid: str) -> bytes:
    """What the captioner sees of an image."""
    images = pq.read_table(out / "images").to_pylist()
    picture = next(row["image"]["bytes"] for row in images if row["uid"] == uid)
    spec = PixelSpec(SIZES["med-tiny"].image_size, "squash")
    row = {"uid": uid, "source": "x#0", "texts": [], "image": picture}
    decoded = decode(pa.Table.from_pylist([row], ROWS), Decode(), [spec])
    return bytes(decoded[f"pixels:{spec.name}"][0].as_py())
