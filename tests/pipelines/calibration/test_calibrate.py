"""calibrate, on a run whose truth is known: by labels, without labels, and on the command line."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs as pafs

from calibration_world import World
from capfilt.core.errors import ChangedError, InputError
from capfilt.core.serialization import to_toml
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.calibrate import Calibration, calibrate, read_calibration, threshold_in_use
from command_line import invoke
from hand_made_run import Books, candidate, make_rows

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def made(world: World) -> Calibration:
    """Without labels, before any test stores something else."""
    return calibrate(Folder.at(world.out), "", precision=0.9, images=100, seed=0)


@pytest.fixture(scope="module")
def labels(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The truth about every text of the run."""
    rows = [{"uid": uid, "candidate": number, "label": right} for (uid, number), right in world.truth.items()]
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def one(result: Calibration, column: str, source: str) -> Any:
    (found,) = [m for m in result.measured if (m.column, m.source) == (column, source)]
    return found


@pytest.mark.slow
def test_labels_give_what_scikit_learn_finds_in_the_tables(world: World, labels: Path, made: Calibration) -> None:
    from sklearn.metrics import roc_auc_score

    result = calibrate(Folder.at(world.out), str(labels), precision=0.9, images=100, seed=0)
    captions = pq.read_table(world.out / "captions").to_pylist()
    web = [(c["itm"], world.truth[c["uid"], 0]) for c in captions if c["source"] == "web"]
    scores, right = zip(*web, strict=True)
    found = one(result, "itm", "web")
    assert found.auc.value == pytest.approx(roc_auc_score(right, scores))
    assert (found.positive, found.negative) == (sum(right), len(right) - sum(right))
    kept = [label for score, label in web if score >= 0.5]
    assert found.current.precision.value == pytest.approx(np.mean(kept))
    assert found.current.keep.value == pytest.approx(len(kept) / len(web))
    best = [label for score, label in web if score >= found.recommended.threshold]
    assert np.mean(best) >= 0.9
    assert result.unmeasured == {
        "itm, synthetic": "0 pairs of one kind, at least 20 are needed",
        "itc, synthetic": "0 pairs of one kind, at least 20 are needed",
        "mix, synthetic": "0 pairs of one kind, at least 20 are needed",
    }


def test_without_labels_the_estimates_come_near_the_truth(world: World, made: Calibration) -> None:
    truth = 1 - np.mean([right for (_, number), right in world.truth.items() if number == 0])
    for column in ("itm", "itc"):
        noise = one(made, column, "web").noise
        assert noise.low <= truth <= noise.high  # wide: the lowest fifth of 100 images' mismatches tells it
    web = one(made, "itm", "web")
    assert web.auc.value > 0.9
    assert web.auc_by_kind.keys() == {"shuffled", "hard"}
    assert one(made, "itm", "synthetic").noise.value < 0.1
    assert made.pairs["web"] == {"hard": 100, "own": 100, "shuffled": 100}


def test_pairs_hold_no_text_and_every_score(world: World, made: Calibration) -> None:
    """`forget` finds rows by their uid, so nothing of another image may stand in them."""
    table = pq.read_table(world.out / "calibration" / "pairs.parquet")
    assert table.column_names == ["uid", "candidate", "source", "kind", "positive", "itm", "itc"]
    assert table["itm"].null_count == 0
    stored = {(c["uid"], c["candidate"]): c["itm"] for c in pq.read_table(world.out / "captions").to_pylist()}
    own = [row for row in table.to_pylist() if row["candidate"] is not None]
    assert all(row["itm"] == stored[row["uid"], row["candidate"]] for row in own)


@pytest.mark.slow
def test_what_is_stored_is_read_again_and_serves_policies(world: World) -> None:
    folder = Folder.at(world.out)
    result = calibrate(folder, "", precision=0.9, images=60, seed=3)
    stored = read_calibration(folder)
    assert stored is not None
    assert [(m.column, m.source) for m in stored.measured] == [(m.column, m.source) for m in result.measured]
    assert stored.measured[0].auc.value == pytest.approx(result.measured[0].auc.value, abs=1e-5)
    knots = json.loads(folder.read("calibration/isotonic.json"))
    assert knots.keys() == {"itm", "itc", "mix"}
    assert knots["itm"].keys() == {"web", "synthetic", "all"}
    for by_source in knots.values():
        for curve in by_source.values():
            assert curve["x"] == sorted(curve["x"])
            assert curve["y"] == sorted(curve["y"])
            assert all(0 <= y <= 1 for y in curve["y"])


@pytest.mark.slow
def test_the_same_call_gives_the_same_bytes_and_scores_nothing_again(world: World) -> None:
    folder = Folder.at(world.out)
    calibrate(folder, "", precision=0.9, images=40, seed=5)
    first = {name: folder.read(name) for name in folder.names("calibration")}
    script = (
        "import sys; from capfilt.core.storage import Folder\n"
        "from capfilt.pipelines.calibration.calibrate import calibrate\n"
        f"calibrate(Folder.at({str(world.out)!r}), '', precision=0.9, images=40, seed=5)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {name: folder.read(name) for name in folder.names("calibration")} == first


def test_other_weights_than_the_run_s_are_refused(world: World, tmp_path: Path) -> None:
    copy = copied(world.out, tmp_path / "out")
    run = tomllib.loads((copy / "run.toml").read_text())
    run["models"]["filter demo-filter"] = "0" * 64
    (copy / "run.toml").write_text(to_toml(run))
    with pytest.raises(ChangedError, match=r"demo-filter.*weights"):
        calibrate(Folder.at(copy), "", precision=0.9, images=40, seed=0)


@pytest.mark.slow
def test_new_texts_and_foreign_pictures_are_scored(world: World, tmp_path: Path) -> None:
    """Right captions of the truth and exchanged ones, for pictures of the run and for picture files."""
    count = len(world.uids)
    rows = []
    for n in range(count):
        image = {"bytes": world.pictures[n], "path": None} if n % 2 else None
        uid = None if n % 2 else world.uids[n]
        rows += [
            {"uid": uid, "image": image, "text": f"there is {world.captions[n]}", "label": 1},
            {"uid": uid, "image": image, "text": f"there is {world.captions[(n + 1) % count]}", "label": 0},
        ]
    rows.append({"uid": "f" * 32, "image": None, "text": "of no image here", "label": 1})
    rows.append({"uid": None, "image": {"bytes": b"no image", "path": None}, "text": "x", "label": 0})
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    result = calibrate(Folder.at(copied(world.out, tmp_path / "out")), str(path), precision=0.9, images=2, seed=0)
    assert result.pairs == {"other": {"right": count, "wrong": count}}
    assert result.left_out == {"the run has no such image": 1, "the image cannot be decoded or scored": 1}
    assert one(result, "itm", "other").auc.value > 0.9


def test_marks_of_browse_are_labels(world: World, tmp_path: Path) -> None:
    from capfilt.pipelines.calibration.marks import MarkBook

    folder = Folder.at(copied(world.out, tmp_path / "out"))
    with pytest.raises(InputError, match="no text is marked; mark some"):
        calibrate(folder, "marks", precision=0.9, images=2, seed=0)
    book = MarkBook(folder)
    for (uid, number), right in list(world.truth.items())[:100]:
        if number == 0:
            book.mark(uid, number, "", right)
    result = calibrate(folder, "marks", precision=0.9, images=2, seed=0)
    assert sum(result.pairs["web"].values()) == 100


def test_a_bucket_is_calibrated_like_a_folder(world: World, labels: Path) -> None:
    """A file system that is not the local one, through the same interface."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(world.out), "/bucket/out", recursive=True)
    folder = Folder(pafs.PyFileSystem(pafs.FSSpecHandler(memory)), "bucket/out", "memory://bucket/out")
    result = calibrate(folder, str(labels), precision=0.9, images=2, seed=0)
    assert one(result, "itm", "web").auc.value > 0.9
    assert folder.exists("calibration/isotonic.json")


def test_constant_scores_and_those_that_are_no_numbers_are_named(books: Books, tmp_path: Path) -> None:
    odd = {0: float("nan"), 1: float("inf")}

    def texts(row: int) -> list[dict[str, Any]]:
        return [candidate(n, f"text {n}", odd.get(row, n / 8), itc=0.5) for n in range(4)]

    labels = []
    for number, chunk in enumerate(books.chunks):
        rows = make_rows(chunk, texts)
        books.commit(number, rows)
        alive = [row["uid"] for row in rows.to_pylist() if not row["reason"]]
        labels += [{"uid": uid, "candidate": n, "label": n % 2 == 0} for uid in alive for n in range(4)]
    pq.write_table(pa.Table.from_pylist(labels), tmp_path / "labels.parquet")
    folder, path = books.ledger.folder, tmp_path / "labels.parquet"
    result = calibrate(folder, str(path), precision=0.9, images=2, seed=0)
    assert result.unmeasured["itm"] == "16 of 52 scores are NaN or infinite"
    assert result.unmeasured["itc, all"] == "every score is 0.5: it tells nothing apart"
    shown = invoke("calibrate", folder.path, "--pairs", path).output
    assert "not measured: itm: 16 of 52 scores are NaN or infinite" in shown


@pytest.mark.slow
def test_the_command_shows_tables_of_80_columns_and_draws(world: World, labels: Path) -> None:
    for arguments in (("--sample", "40"), ("--pairs", labels)):
        result = invoke("calibrate", world.out, *arguments)
        assert result.exit_code == 0, result.output
        lines = [line for line in result.stdout.splitlines() if not line.startswith("curves:")]  # a path is as it is
        assert max(map(len, lines)) <= 80
        assert not any(line.startswith(" ") for line in lines), "a cell is broken over two lines"
    drawn = sorted((world.out / "calibration").glob("*.svg"))
    assert [path.stem for path in drawn] == [
        *(f"itc-{name}" for name in ("calibrated", "keep", "precision", "roc")),
        *(f"itm-{name}" for name in ("calibrated", "keep", "precision", "reliability", "roc")),
        *(f"mix-{name}" for name in ("calibrated", "keep", "precision", "roc")),
    ]
    assert all(ElementTree.fromstring(path.read_bytes()).tag.endswith("svg") for path in drawn)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--pairs", "nowhere.csv"), "nowhere.csv"),
        (("--precision", "2"), "--precision"),
        (("--sample", "1"), "--sample"),
    ],
)
def test_a_mistake_is_told_in_a_line(world: World, arguments: tuple[str, ...], wanted: str) -> None:
    result = invoke("calibrate", world.out, *arguments)
    assert result.exit_code == 2
    assert wanted in result.stderr


def test_no_run_is_a_mistake(tmp_path: Path) -> None:
    result = invoke("calibrate", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "no run here" in result.stderr


def test_the_threshold_in_use_is_that_of_a_policy_that_has_one(world: World) -> None:
    selection = Ledger.at(world.out).selection()
    assert threshold_in_use(selection) == ("itm", 0.5)
    assert threshold_in_use({**selection, "policy": "quantile"}) is None
    assert threshold_in_use({}) is None


def copied(out: Path, to: Path) -> Path:
    """A run that a test may change."""
    import shutil

    return Path(shutil.copytree(out, to, ignore=shutil.ignore_patterns("calibration")))
