"""`capfilt annotate`: a judge joins a finished run, and nothing of the run is written again."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from capfilt.commands.annotate import annotate, drop
from capfilt.commands.verify import repair, verify
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ChangedError, ConfigError
from capfilt.core.storage import Folder
from capfilt.ledger.joined import captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.forget.forget import forget
from capfilt.pipelines.query import run_query
from capfilt.pipelines.selection.select import select
from command_line import invoke
from staged_run import Run, pairs
from staged_run import tree as whole_tree

WORDS = "python:word_judge:WordJudge"
HERE = ("engine.kind=local", "engine.threads=1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of four chunks; its recipe names models that this machine has."""
    return Run.over(pairs(), tmp_path_factory.mktemp("annotate")).finish()


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Run:
    return whole.copy(tmp_path / "out")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, which names the latest driver."""
    return {name: data for name, data in whole_tree(folder).items() if name != ".lock"}


def words(out: Path) -> list[tuple[str, float | None]]:
    table = run_query(Folder.at(out), "SELECT text, words FROM captions ORDER BY uid, candidate")
    return list(zip(table["text"].to_pylist(), table["words"].to_pylist(), strict=True))


def test_every_text_has_the_new_score_and_no_file_of_the_run_changed(run: Run) -> None:
    before = tree(run.out)
    done = annotate(str(run.out), [WORDS], overrides=HERE)
    assert (done.layers, done.columns, done.chunks) == (("WordJudge",), ("words",), 4)
    after = tree(run.out)
    assert {name: data for name, data in after.items() if not name.startswith("layers/")} == before

    found = words(run.out)
    assert len(found) == 2 * len(pq.read_table(run.out / "images")) > 0
    assert all(score is not None and int(score) == len(text) for text, score in found)
    assert len({round(score % 1, 6) for _, score in found if score}) > 5  # of each image its own brightness
    assert (run.status.complete, run.status.selected) == (True, True)
    layer = run.status.layers[0]
    assert (layer.name, layer.chunks_done, layer.chunks_left, layer.rows, layer.without) == (
        "WordJudge", 4, 0, len(found), {},
    )  # fmt: skip
    assert annotate(str(run.out), [WORDS], overrides=HERE).chunks == 0
    assert tree(run.out) == after


def test_a_policy_decides_over_an_old_and_a_new_column(run: Run) -> None:
    annotate(str(run.out), [f"own={WORDS}"], overrides=HERE)
    settings = SelectSettings(policy="ensemble", judges=("itm", "words_own"), thresholds=(0.5, 44.0), votes=2)
    select(run.ledger.folder, settings)
    kept = run_query(
        run.ledger.folder,
        "SELECT count(*) AS n, min(itm) AS itm, min(words_own) AS words FROM captions JOIN decisions "
        "USING (uid, candidate) WHERE keep",
    ).to_pylist()[0]
    both = "SELECT count(*) AS n FROM captions WHERE itm >= 0.5 AND words_own >= 44"
    assert kept["n"] == run_query(run.ledger.folder, both).to_pylist()[0]["n"] > 0
    corpus = duckdb.sql(f"SELECT unnest(captions).words_own AS w FROM '{run.out}/corpus/*.parquet'").fetchall()
    assert min(corpus)[0] >= 44
    drop(str(run.out), "own")
    assert "words_own" not in captions_schema(run.ledger).names
    assert not run.status.selected


def test_an_annotation_killed_by_the_kernel_resumes_to_the_same_bytes(run: Run, tmp_path: Path) -> None:
    other = run.copy(tmp_path / "undisturbed")
    annotate(str(other.out), ["python:word_judge:DeadlyJudge"], name="words", overrides=HERE)
    command = [sys.executable, "-m", "capfilt", "annotate", str(run.out), "--judge", "python:word_judge:DeadlyJudge"]
    command += ["--name", "words", *(word for value in HERE for word in ("--set", value))]
    killed = subprocess.run(command, env=ENVIRONMENT | {"SEEN": str(tmp_path / "seen")}, capture_output=True)
    assert killed.returncode == -9
    assert [(layer.chunks_done, layer.chunks_left) for layer in run.status.layers] == [(1, 3)]
    told = invoke("status", run.out)
    assert (told.exit_code, "`capfilt annotate OUT` completes words" in told.output) == (1, True)
    assert annotate(str(run.out)).chunks == 3
    assert tree(run.out / "layers") == tree(other.out / "layers")


ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support" / "tiny_models")}


@pytest.fixture(autouse=True)
def never_deadly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In this process the deadly judge has killed already."""
    (tmp_path / "seen-here").write_text("..")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen-here"))


def test_an_image_that_the_judge_cannot_read_costs_its_texts_their_score_only(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(str(run.out), ["python:word_judge:BrightJudge"], name="all", overrides=HERE)
    light = sorted(row["bright"] % 1 for row in run_query(run.ledger.folder, "FROM captions").to_pylist())
    drop(str(run.out), "all")
    monkeypatch.setenv("DARK", str(1000 * light[1] + 0.01))  # of two texts of the darkest image
    annotate(str(run.out), ["python:word_judge:BrightJudge"], name="some", overrides=HERE)
    without = run_query(run.ledger.folder, "SELECT count(*) AS n FROM captions WHERE bright IS NULL").to_pylist()
    assert without == [{"n": 2}]
    assert run.status.layers[0].without == {"poison": 2}
    assert "2 without a value (2 poison)" in invoke("status", run.out).output


def test_what_is_forgotten_leaves_the_layers_too_and_the_rest_keeps_its_scores(run: Run) -> None:
    annotate(str(run.out), [WORDS], overrides=HERE)
    scores = dict(words(run.out))
    url = "http://example.org/albums/0003/photo.jpg"
    uid = next(row["uid"] for row in run.table("images") if row["url"] == url)
    forget(run.ledger.folder, [("url", url)])
    assert uid.encode() not in b"".join(tree(run.out).values())
    assert run.status.layers[0].chunks_left == 0
    left = dict(words(run.out))
    assert left == {text: score for text, score in scores.items() if text in left}
    assert len(left) == len(scores) - 2
    assert verify(str(run.out)).damaged == {}


def test_a_forget_that_ends_at_any_write_is_finished_with_all_other_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Run.over(pairs(6), tmp_path, "made").finish()
    annotate(str(made.out), [WORDS], overrides=HERE)
    gone = [("url", "http://example.org/albums/0003/photo.jpg")]
    write = Folder.write

    def forgotten(name: str, limit: int) -> dict[str, bytes]:
        """The layer after a forget that ends at its write number `limit`, and is called again."""
        run, count = made.copy(tmp_path / name), iter(range(1, 1000))

        def cut(folder: Folder, name: str, data: bytes) -> None:
            if next(count) == limit:
                raise KeyboardInterrupt
            write(folder, name, data)

        monkeypatch.setattr(Folder, "write", cut)
        with contextlib.suppress(KeyboardInterrupt):
            forget(run.ledger.folder, gone)
        written.append(next(count) - 1)
        monkeypatch.setattr(Folder, "write", write)
        forget(run.ledger.folder, gone)
        assert (run.status.complete, verify(str(run.out)).damaged) == (True, {})
        return {file: data for file, data in tree(run.out / "layers").items() if file.endswith(".parquet")}

    written: list[int] = []
    whole = forgotten("whole", 0)
    for limit in range(1, written[0] + 1):
        assert forgotten(f"cut-{limit}", limit) == whole, limit


def test_a_damaged_layer_is_named_and_made_again(run: Run) -> None:
    annotate(str(run.out), [WORDS], overrides=HERE)
    before = tree(run.out / "layers")
    files = [run.out / "layers" / "WordJudge" / name for name in ("000001.parquet", "commits/000002.parquet")]
    for file in files:
        file.write_bytes(file.read_bytes()[:-9])
        if file is files[0]:
            advice = r"layers/WordJudge/000001\.parquet has .*: `capfilt verify OUT --repair` makes it again"
            assert re.search(advice, run.status.problem)
            assert re.search(advice, invoke("query", run.out, "FROM captions").stderr)
    found = verify(str(run.out))
    assert set(found.damaged) == {str(file.relative_to(run.out)) for file in files}
    assert repair(str(run.out), found) == 0
    assert tree(run.out / "layers") == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--judge", "python:word_judge:Nobody"], "Nobody"),
        (["--judge", f"itm={WORDS}", "--set", "caption.n=3"], "--set 'caption.n=3': only settings of [engine]"),
        (["--judge", WORDS, "--name", "a/b"], "--name 'a/b'"),
        (["--judge", WORDS, "--judge", WORDS, "--name", "x"], "--name names one layer"),
        (["--judge", WORDS, "--judge", f"{WORDS}"], "another model has the layer WordJudge already: give it a tag"),
        (["--judge", f"a={WORDS}", "--judge", "a=python:word_judge:BrightJudge"], "has the layer a already"),
        (["--judge", WORDS, "--judge", "python:word_judge:DeadlyJudge"], "has a column 'words' already"),
        (["--judge", "python:word_judge:LoudJudge"], "has a column 'ITM' already; a tag tells them apart"),
        (
            ["--judge", "python:word_judge:TextJudge"],
            "gives the column 'Text', which a run has already: 'TAG=",
        ),
        (["--drop", "nothing"], "--drop 'nothing': no such layer; there are: none"),
        (["--drop", "x", "--judge", WORDS], "--drop stands alone"),
        (["--name", "x"], "--name, --where and --set are for a --judge, --image-judge or --captioner"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(whole: Run, options: list[str], told: str) -> None:
    before = tree(whole.out)
    result = invoke("annotate", whole.out, *options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert told in result.stderr
    assert tree(whole.out) == before


def test_other_weights_settings_and_runs_are_refused(run: Run, tmp_path: Path) -> None:
    annotate(str(run.out), [WORDS], name="words", overrides=HERE)
    with pytest.raises(ChangedError, match=r"layer words: .*: give another --name"):
        annotate(str(run.out), ["python:word_judge:OtherWeights"], name="words", overrides=HERE)
    with pytest.raises(ChangedError, match=r"layer words: was planned with engine\.batch = 32, now 3: give another"):
        annotate(str(run.out), [WORDS], name="words", overrides=("engine.batch=3",))
    with pytest.raises(ConfigError, match="has a column 'words' already; a tag tells them apart"):
        annotate(str(run.out), [WORDS], name="other", overrides=HERE)
    stranger = Run.over(pairs(8), tmp_path, "stranger").finish()
    shutil.copytree(run.out / "layers", stranger.out / "layers")
    for command in (["status"], ["query"], ["annotate"]):
        result = invoke(*command, stranger.out, *(["FROM captions"] if command == ["query"] else []))
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "layer words was made for another run" in result.stderr
    drop(str(stranger.out), "words")
    assert status(Ledger.at(stranger.out).folder).complete


def test_a_layer_that_is_older_than_a_setting_resumes(run: Run) -> None:
    ledger = run.ledger
    toml = run.out / "layers" / "WordJudge.toml"
    annotate(str(run.out), [WORDS], overrides=HERE)
    older = toml.read_text().replace("isolate = false\n", "")
    assert older != toml.read_text()
    drop(str(run.out), "WordJudge")
    ledger.folder.write("layers/WordJudge.toml", older.encode())
    assert annotate(str(run.out)).chunks == 4
    assert annotate(str(run.out), [WORDS], overrides=HERE).chunks == 0
    with pytest.raises(ChangedError, match=r"has the columns words, now one, two"):
        annotate(str(run.out), ["python:word_judge:TwoScores"], name="WordJudge", overrides=HERE)
