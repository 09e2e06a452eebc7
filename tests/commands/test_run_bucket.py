"""The main job from a bucket to a bucket, and what reads it there."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.commands.run import run
from capfilt.core.storage import Folder
from capfilt.demo.world import jpeg, web_rows
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.query import run_query
from capfilt.pipelines.recipes.load import load_recipe
from command_line import invoke

pytestmark = [pytest.mark.ray(alone=True), pytest.mark.timeout(900)]


def test_from_a_bucket_to_a_bucket(bucket: str, checkpoint: Path, tmp_path: Path) -> None:
    rows = [
        {"image": b"<html>gone</html>" if number == 3 else jpeg(scene, 64), "text": row.text}
        for number, (scene, row) in enumerate(web_rows(30, seed=5))
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    Folder.at(f"{bucket}/in").write("pictures.parquet", sink.getvalue().to_pybytes())
    sets = (f"caption.captioner='{checkpoint}'", f"score.judges=['{checkpoint}']", "input.chunk_rows=10")
    recipe, out = load_recipe("blip", (*sets, "engine.cpus=3")), f"{bucket}/out"

    outcome = run([f"{bucket}/in"], out, recipe)

    assert (outcome.chunks, outcome.chunks_now, outcome.rows) == (3, 3, 30)
    assert run([f"{bucket}/in"], out, recipe).chunks_now == 0
    folder = Folder.at(out)
    state = status(folder)
    assert (state.complete, state.balanced, state.selected, state.images) == (True, True, True, 29)
    Ledger.at(out).verify()
    assert run_query(folder, "SELECT count(*) AS n FROM decisions").to_pylist() == [{"n": 58}]
    with Ledger.at(out).lock():  # the lease was given back
        pass
    commands_on_it(out, bucket, checkpoint, tmp_path)


def commands_on_it(out: str, bucket: str, checkpoint: Path, tmp_path: Path) -> None:
    """What a person types after a run, on the bucket as on a folder."""
    counts = command("status", out)
    assert "3 of 3 done, 30 of 30 rows" in counts
    assert "58" in command("query", out, "SELECT count(*) FROM captions")
    assert "report: " in command("report", out)
    assert b"<!doctype html>" in Folder.at(out).read("report.html")
    assert "nothing written" in command("select", out, "--set", "select.threshold=0", "--dry-run")
    command("select", out, "--set", "select.threshold=0", "--name", "all")
    command("export", out, "--to", f"{bucket}/webdataset", "--format", "webdataset")
    assert Folder.at(f"{bucket}/webdataset").names("data", ".tar")
    trained = tmp_path / "trained"
    few = ("--start", str(checkpoint), "--steps", "2", "--batch", "4", "--set", 'data.sources=["web"]')
    command("train", "captioner", f"{out}/corpus", "--out", str(trained), *few)
    assert list(trained.glob("*.safetensors"))


def command(*arguments: str) -> str:
    """Output of a command, in this process."""
    done = invoke(*list(arguments))
    assert done.exit_code == 0, done.output
    return str(done.output)
