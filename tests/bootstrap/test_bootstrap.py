"""One whole round by the command, on a few pictures. `make test-slow`: two runs of Ray and four trainings."""

import json
import os
from pathlib import Path

import pytest

from capfilt.core.storage import Folder
from capfilt.demo.world.dataset import write_noisy, write_pairs
from capfilt.pipelines.query import run_query
from command_line import invoke

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.environ.get("CAPFILT_SLOW"), reason="a minute; make test-slow runs it"),
]


def test_a_round_and_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_noisy(Path("web.parquet"), 24, seed=1)
    write_pairs(Path("human.parquet"), 40, seed=2)
    write_pairs(Path("test.parquet"), 8, seed=3)
    settings = [f"{name}.set=['schedule.steps=3', 'schedule.batch=8']" for name in ("pretrain", "captioner", "filter")]
    settings += ["run.set=['select.threshold=0', 'caption.min_tokens=1']", "stop.diversity=0", "stop.fall=1"]
    command = ["bootstrap", "small", "--out", "loop", "--web", "web.parquet", "--human", "human.parquet"]
    command += ["--test", "test.parquet", *(word for setting in settings for word in ("--set", setting))]
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert "best: loop/round-" in done.output
    report = json.loads(Path("loop/round-1/report.json").read_text())
    # None is kept that is empty.
    written = "SELECT count(*) AS n FROM captions WHERE source = 'synthetic' AND text <> ''"
    said = run_query(Folder.at("loop/round-1/run"), written).to_pylist()[0]["n"]
    assert 12 < said <= 24
    assert report["texts"] == {"web": 24, "synthetic": said}
    assert set(report["noise"]) == {"web", "synthetic"}
    again = invoke(*command)
    assert again.exit_code == 0, again.output
    assert again.output.count("unchanged: ") == 8
    write_pairs(Path("human.parquet"), 41, seed=2)
    changed = invoke(*command)
    assert changed.exit_code == 0, changed.output
    assert changed.output.count("unchanged: ") == 1  # the web's pairs as they are
