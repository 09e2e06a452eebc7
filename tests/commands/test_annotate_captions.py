"""`capfilt annotate --captioner`: further captions join a finished run, and all that comes after sees them."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from capfilt.commands.annotate import annotate, drop
from capfilt.commands.run import append, run
from capfilt.commands.verify import repair, verify
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import Status, status
from capfilt.pipelines.dedup.dedup import find_duplicates
from capfilt.pipelines.export import export
from capfilt.pipelines.forget.forget import forget
from capfilt.pipelines.query import run_query
from command_line import invoke
from staged_run import tree
from word_run import TABLES, WORDS, two_files, word_recipe

WRITER = "python:word_captioner:WordCaptioner"
OTHER = "python:word_captioner:OtherCaptioner"
TWO = ("caption.n=2",)
STATE = "SELECT candidate, source, text, words, captioner, flags FROM captions ORDER BY uid, candidate"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return word_recipe()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return two_files(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, Path], recipe: Recipe) -> Path:
    """A finished run of two chunks without a captioner."""
    out = tmp_path_factory.mktemp("plain") / "out"
    run([str(files[0])], str(out), recipe)
    return out


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, plain: Path) -> Path:
    """The same with a judge's layer and a captioner's."""
    out = Path(shutil.copytree(plain, tmp_path_factory.mktemp("grown") / "out"))
    annotate(str(out), [f"late={WORDS}"])
    annotate(str(out), captioner=WRITER, name="more", overrides=TWO)
    return out


@pytest.fixture
def out(grown: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grown, tmp_path / "out"))


def tables(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(out).items() if name.split("/")[0] in TABLES and ".toml" not in name}


def rows(out: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_query(Folder.at(out), sql).to_pylist()
    return found


def stand(out: Path) -> Status:
    return status(Ledger.at(out).folder)


def test_new_captions_are_rows_that_all_judges_score_and_the_selection_decides(plain: Path, grown: Path) -> None:
    before, after = tables(plain), tables(grown)
    kept = [name for name in before if name.split("/")[0] not in ("decisions", "corpus")]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}

    found = rows(grown, "SELECT *, words_late AS late FROM captions ORDER BY uid, candidate")
    images = len({row["uid"] for row in found})
    assert [row["candidate"] for row in found] == [0, 1, 2] * images  # behind the web text, which is candidate 0
    new = [row for row in found if row["captioner"] == "word-captioner@0c0c0c0c0c0c"]
    assert len(new) == 2 * images > 0
    assert all(row["source"] == "synthetic" and row["seed"] and row["logprob"] == -1 for row in new)
    assert all(row["late"] == row["words"] and int(row["words"]) == len(row["text"]) for row in found)
    assert len({row["text"] for row in new}) == len(new)
    assert len(rows(grown, "FROM decisions WHERE keep")) == len(found)
    assert {len(row["captions"]) for row in rows(grown, "FROM corpus")} == {3}
    told = stand(grown)
    assert (told.complete, told.selected, told.captions["synthetic"]) == (True, True, len(new))
    assert [(one.name, one.subject, one.rows) for one in told.layers] == [
        ("late", "texts", len(found)),
        ("more", "captions", len(new)),
    ]


def test_a_run_built_in_steps_has_the_bytes_of_one_built_at_once(
    files: tuple[Path, Path], out: Path, tmp_path: Path, recipe: Recipe
) -> None:
    grown = append([str(files[1])], str(out))
    assert grown.chunks_now == 1
    once = tmp_path / "once"
    run([str(file) for file in files], str(once), recipe)
    annotate(str(once), captioner=WRITER, name="more", overrides=TWO)
    annotate(str(once), [f"late={WORDS}"])
    append([str(files[0])], str(once))  # nothing new, but corpus/ gets the column of the judge that came last
    assert tables(out) == tables(once)
    assert stand(out).complete


def test_a_second_captioner_comes_behind_the_first_and_a_dropped_one_leaves_its_numbers_free(out: Path) -> None:
    annotate(str(out), captioner=OTHER, name="other", overrides=TWO)
    found = rows(out, STATE)
    assert {row["candidate"] for row in found if row["captioner"] and row["captioner"].startswith("other")} == {3, 4}
    assert [row["flags"] for row in found if row["candidate"] in (3, 4)][:2] == [[], ["duplicate"]]
    assert all(row["words"] is not None for row in found)
    drop(str(out), "more")
    assert not stand(out).selected
    assert not [name for name in tree(out / "layers") if "more" in name]
    assert {row["candidate"] for row in rows(out, STATE)} == {0, 3, 4}


def test_only_the_images_that_where_chooses_get_captions(plain: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    annotate(str(out), [f"late={WORDS}"])
    sizes = sorted(row["words_late"] for row in rows(out, "FROM captions"))
    middle = sizes[len(sizes) // 2]
    where = f"uid IN (SELECT uid FROM captions WHERE words_late < {middle}) -- the darker half"
    annotate(str(out), captioner=WRITER, name="more", where=where, overrides=TWO)
    wanted = {row["uid"] for row in rows(out, f"FROM captions WHERE candidate = 0 AND words_late < {middle}")}
    assert {row["uid"] for row in rows(out, "FROM captions WHERE candidate > 0")} == wanted
    assert 0 < len(wanted) < len(rows(out, "FROM images"))
    assert (stand(out).complete, annotate(str(out)).chunks) == (True, 0)
    refused = invoke("annotate", out, "--drop", "late")
    assert (refused.exit_code, "layer more needs it: drop that one first" in refused.stderr) == (2, True)
    annotate(str(out), [f"some={WORDS}"], where="width < 0")
    assert rows(out, "SELECT count(words_some) AS n FROM captions") == [{"n": 0}]
    with pytest.raises(ChangedError, match=r"was made with --where 'width < 0', now ''"):
        annotate(str(out), [f"some={WORDS}"])


def test_killed_by_the_kernel_it_resumes_to_the_same_bytes(plain: Path, grown: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    command = [sys.executable, "-m", "capfilt", "annotate", str(out), "--name", "more", "--set", TWO[0]]
    paths = {"PYTHONPATH": str(Path(__file__).parents[1] / "support" / "tiny_models"), "SEEN": str(tmp_path / "seen")}
    deadly = [*command, "--captioner", "python:word_captioner:DeadlyCaptioner"]
    assert subprocess.run(deadly, env=os.environ | paths, capture_output=True, check=False).returncode == -9
    assert [(one.chunks_done, one.chunks_left) for one in stand(out).layers] == [(1, 1)]
    annotate(str(out), captioner=WRITER, name="more", overrides=TWO)
    annotate(str(out), [f"late={WORDS}"])
    assert {n: d for n, d in tables(out).items() if n.startswith("layers")} == {
        n: d for n, d in tables(grown).items() if n.startswith("layers")
    }


def test_a_forget_that_ends_at_any_write_is_finished_with_all_other_captions(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, write = "http://example.org/albums/0003/photo.jpg", Folder.write
    uid = rows(out, f"SELECT uid FROM images WHERE url = '{url}'")[0]["uid"]
    before = rows(out, f"FROM captions WHERE uid <> '{uid}' ORDER BY uid, candidate")

    def forgotten(limit: int) -> int:
        """The writes of a forget that ends at number `limit`, and is called again."""
        copy, count = Path(shutil.copytree(out, tmp_path / f"cut-{limit}")), iter(range(1, 1000))

        def cut(folder: Folder, name: str, data: bytes) -> None:
            if next(count) == limit:
                raise KeyboardInterrupt
            write(folder, name, data)

        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr(Folder, "write", cut)
            forget(Folder.at(copy), [("url", url)])
        writes = next(count) - 1
        forget(Folder.at(copy), [("url", url)])
        assert uid.encode() not in b"".join(tree(copy).values()), limit
        assert rows(copy, "FROM captions ORDER BY uid, candidate") == before, limit
        told = stand(copy)
        assert (told.complete, told.selected, verify(str(copy)).damaged) == (True, True, {}), limit
        shutil.rmtree(copy)
        return writes

    for limit in range(1, forgotten(0) + 1):
        forgotten(limit)


def test_a_damaged_file_of_a_layer_or_of_a_part_is_named_and_made_again(out: Path) -> None:
    before = tables(out)
    hurt = ["layers/more/000000.parquet", "layers/late.more/000001.parquet", "layers/more/commits/000001.parquet"]
    for name in hurt:
        (out / name).write_bytes((out / name).read_bytes()[:-9])
    found = verify(str(out))
    assert set(found.damaged) == set(hurt)
    repair(str(out), found)
    assert tables(out) == before


def test_dedup_export_and_report_see_the_new_captions(out: Path, tmp_path: Path) -> None:
    find_duplicates(Folder.at(out), radius=0, similarity=0.9)
    annotate(str(out), captioner=OTHER, name="other", overrides=TWO)
    twice = find_duplicates(Folder.at(out), radius=0, similarity=0.9)
    assert twice.fresh
    assert twice.captions.exact >= len(rows(out, "FROM images"))
    made = export.export(Folder.at(out), str(tmp_path / "x"), "parquet", export.format_named("parquet"))
    assert made.texts == len(rows(out, "FROM decisions WHERE keep"))
    shards = sorted((tmp_path / "x").rglob("*.parquet"))
    assert {len(row) for row in pq.read_table(shards)["captions"].to_pylist()} == {5}
    assert invoke("report", out).exit_code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--captioner", "python:word_captioner:Nobody", "--set", TWO[0]], "Nobody"),
        (["--captioner", WRITER], "caption.n = 0: the captioner would write nothing: --set caption.n=1"),
        (["--captioner", WRITER, "--set", "caption.n=3", "--name", "y"], "would write the same: --set caption.seed"),
        (["--captioner", WRITER, "--judge", WORDS], "--captioner and a judge are two calls"),
        (["--captioner", OTHER, "--name", "late"], "--name late: the run has a layer of that name about texts"),
        (["--captioner", WRITER, "--set", "input.text=none"], "only settings of [engine], [caption] and [endpoint]"),
        (["--captioner", OTHER, *["--set", TWO[0]], "--where", "colour = 3"], '"colour" not found'),
        (["--captioner", OTHER, *["--set", TWO[0]], "--where", "true); DROP TABLE x; --"], "--where"),
        (["--captioner", OTHER, *["--set", TWO[0]], "--where", "octet_length(image.bytes) > 9"], "image"),
        (["--where", "true"], "--name, --where and --set are for a --judge, --image-judge or --captioner"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(grown: Path, options: list[str], told: str) -> None:
    before = tables(grown)
    result = invoke("annotate", grown, *options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
    assert told in result.stderr
    assert tables(grown) == before


@pytest.mark.parametrize("gone", [lambda out: (out / "layers" / "late.toml").unlink()])
def test_a_layer_whose_basis_is_gone_is_one_line(out: Path, gone: Callable[[Path], None]) -> None:
    annotate(str(out), captioner=OTHER, name="other", where="uid IN (FROM captions SELECT uid WHERE words_late > 0)",
             overrides=TWO)  # fmt: skip
    gone(out)
    result = invoke("status", out)
    assert result.stderr.count("\n") == 1
    assert "layer other needs layer late, which is not there: `capfilt annotate OUT --drop other`" in result.stderr
