"""A judge joins a run from Python, and so do further inputs."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import capfilt

WORDS = "python:word_judge:WordJudge"


def test_a_judge_and_inputs_are_added_from_python(made: capfilt.Run, pairs: Path, tmp_path: Path) -> None:
    run = capfilt.open(shutil.copytree(made.out, tmp_path / "out"))
    done = run.annotate(f"own={WORDS}", set={"engine.batch": 7})
    assert (done.layers, done.columns, done.chunks) == (("own",), ("words_own",), 3)

    written = run.annotate(
        captioner="python:word_captioner:WordCaptioner", name="more", where="width > 0", set={"caption.n": 1}
    )
    assert (written.layers, written.chunks) == (("more",), 6)  # three of captions, three of what `own` says of them

    run.annotate(image_judge="python:light_judge:LightJudge")
    assert {"light", "vector", "names"} <= set(run.table("images").columns)

    more = tmp_path / "more.parquet"
    pq.write_table(pq.read_table(pairs).slice(0, 3), more)
    grown = capfilt.run([pairs, more], run.out, append=True)
    assert grown.result is not None
    assert (grown.result.chunks, grown.result.chunks_now, grown.result.rows) == (4, 1, 33)
    assert grown.status().complete
    assert grown.table("images").aggregate("count(*) = count(light)").fetchall() == [(True,)]
    ((texts, scored),) = grown.captions().aggregate("count(*) AS texts, count(words_own) AS scored").fetchall()
    assert texts == scored > 0

    grown.drop_layer("own")
    assert "words_own" not in grown.captions().columns
    with pytest.raises(capfilt.ConfigError, match="uses the recipe of the run"):
        capfilt.run(more, run.out, append=True, limit=2)
