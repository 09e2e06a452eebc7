"""Pictures of an evaluation set never become images of a run, by their bytes or by their look."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from capfilt.cli import app
from capfilt.commands.run import run as run_all
from capfilt.core.config import DecodeSettings
from capfilt.core.errors import ChangedError, InputError
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.evaluation.decontaminate import EVALUATION_IMAGES, EvaluationSets, find_leaks, without_leaks
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.read import read
from pictures import picture
from staged_run import MakeRun, Pair, Run


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    """An evaluation set of three pictures, and a file that is none."""
    folder = tmp_path / "exam"
    (folder / "deep").mkdir(parents=True)
    for number in range(3):
        (folder / "deep" / f"{number}.jpg").write_bytes(picture(number))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return folder


def test_leaks_become_failures(make_run: MakeRun, exam: Path) -> None:
    rows = [
        Pair("http://a/0", picture(7)),
        Pair("http://a/1", picture(0)),  # the same bytes
        Pair("http://a/2", picture(1, 150, quality=60)),  # the same look
        Pair("http://a/3", picture(2, format="PNG")),
        Pair("http://a/4", b"no image"),
    ]
    run = make_run(rows, "out", f"decode.exclude_eval=['{exam}']").finish()
    assert [row["url"] for row in run.table("images")] == ["http://a/0"]
    details = {row["url"]: (row["stage"], row["reason"], row["detail"]) for row in run.table("failures")}
    assert details["http://a/1"] == ("decode", "eval_leak", "the bytes of exam#deep/0.jpg")
    for number in (2, 3):
        stage, reason, detail = details[f"http://a/{number}"]
        assert (stage, reason) == ("decode", "eval_leak")
        assert detail.endswith(f" of 64 bits from exam#deep/{number - 1}.jpg")
    assert details["http://a/4"][1] == "not_an_image"
    assert not any(row["retryable"] for row in run.table("failures"))
    run.ledger.verify()
    assert run.status.failures == {"eval_leak": 3, "not_an_image": 1}


def test_the_dead_keep_neither_facts_nor_pixels(exam: Path, make_run: MakeRun) -> None:
    run = make_run(
        [Pair("http://a/0", picture(0)), Pair("http://a/1", picture(5))], "x", f"decode.exclude_eval=['{exam}']"
    )
    (chunk,) = run.plan()
    pixels = [PixelSpec(8, "squash")]
    rows = without_leaks(decode(read(chunk), run.recipe.decode, pixels), run.ledger.folder, run.recipe.decode)
    dead, alive = rows.to_pylist()
    assert dead["reason"] == "eval_leak"
    assert {name for name, value in dead.items() if value is None} == {
        *("image", "sha256", "width", "height", "format", "phash", "phash_mirrored", "color_layout", "pixels:squash-8"),
        "redirect_hosts",  # of a file
    }
    assert alive["reason"] is None
    assert len(alive["pixels:squash-8"]) == 8 * 8 * 3


@pytest.mark.parametrize("radius", [0, 1, 4, 16])
def test_likeness_is_exact(radius: int) -> None:
    rng = np.random.default_rng(radius)
    known = rng.integers(0, 2**64, 300, np.uint64)
    given = known[:200] ^ np.array(
        [sum(1 << int(b) for b in rng.choice(64, n % 20, False)) for n in range(200)], np.uint64
    )
    names = pa.array([f"k{n}" for n in range(300)])
    nothing = [pa.nulls(300, pa.uint64()), pa.nulls(300, pa.binary(48))]  # as an older version wrote it
    table = pa.table([names, names, known, *nothing], schema=EVALUATION_IMAGES)
    rows = pa.table({"sha256": ["?"] * 200, "phash": given, "color_layout": pa.nulls(200, pa.binary(48))})
    found = find_leaks(rows, table, radius)
    bits = np.bitwise_count(given[:, None] ^ known[None, :]).min(axis=1)
    assert [leak is not None for leak in found] == (bits <= radius).tolist()
    assert [int(leak.split()[0]) for leak in found if leak] == bits[bits <= radius].tolist()


@pytest.mark.parametrize("change", ["mirrored", "cropped", "compressed", "half the size"])
def test_a_changed_copy_of_an_evaluation_image_is_a_leak(change: str, tmp_path: Path, make_run: MakeRun) -> None:
    image = Image.effect_mandelbrot((400, 300), (-2, -1.5, 1, 1.5), 40).convert("RGB")
    image.paste("orange", (20, 40, 160, 120))
    (tmp_path / "exam").mkdir()
    image.save(tmp_path / "exam" / "0.png")
    changed = {
        "mirrored": ImageOps.mirror(image),
        "cropped": image.crop((10, 8, 390, 292)),
        "compressed": image,
        "half the size": image.resize((200, 150)),
    }[change]
    stream = io.BytesIO()
    changed.save(stream, "JPEG", quality=30 if change == "compressed" else 90)
    other = io.BytesIO()
    recolored = Image.merge("RGB", [changed.getchannel(name) for name in "BRG"])
    recolored.save(other, "JPEG")
    pairs = [
        Pair("http://a/0", stream.getvalue()),
        Pair("http://a/1", picture(5)),
        Pair("http://a/2", other.getvalue()),
    ]
    run = make_run(pairs, "x", f"decode.exclude_eval=['{tmp_path / 'exam'}']")
    (chunk,) = run.plan()
    rows = without_leaks(decode(read(chunk), run.recipe.decode), run.ledger.folder, run.recipe.decode).to_pylist()
    assert [row["reason"] for row in rows] == ["eval_leak", None, None]
    assert ("from mirrored exam#0.png" in rows[0]["detail"]) == (change == "mirrored")


def test_a_set_is_read_once_and_its_change_is_noticed(exam: Path, make_run: MakeRun) -> None:
    run = make_run([Pair("http://a/0", picture(7))], "out", f"decode.exclude_eval=['{exam}']")
    run.plan()
    sets = EvaluationSets.find(run.recipe.decode)
    ledger = run.ledger
    plan = make_plan([str(run.source)], run.recipe.input)
    inputs = [*((file.identity, file.size, file.sha256) for file in plan.inputs), *sets.inputs()]
    ledger.check_unchanged(inputs, run.recipe, ledger.run["models"])
    before = (run.out / "evaluation.parquet").stat().st_mtime_ns
    assert sets.write(ledger, run.recipe.decode) == []
    assert (run.out / "evaluation.parquet").stat().st_mtime_ns == before
    (exam / "deep" / "3.jpg").write_bytes(picture(3))
    changed = [*inputs[:1], *EvaluationSets.find(run.recipe.decode).inputs()]
    with pytest.raises(ChangedError, match=r"input decode\.exclude_eval exam changed"):
        ledger.check_unchanged(changed, run.recipe, ledger.run["models"])


def test_what_is_no_picture_is_told(exam: Path, make_run: MakeRun) -> None:
    run = make_run([Pair("http://a/0", picture(7))], "out", f"decode.exclude_eval=['{exam}']")
    notes = EvaluationSets.find(run.recipe.decode).write(run.ledger, run.recipe.decode)
    assert notes == [f"{exam}: 1 rows of this evaluation set, which are not images"]


def test_a_set_that_is_not_there(tmp_path: Path, exam: Path) -> None:
    with pytest.raises(InputError, match=r"decode\.exclude_eval: .*nowhere"):
        EvaluationSets.find(DecodeSettings(exclude_eval=(str(tmp_path / "nowhere"),)))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.jpg").write_bytes(b"x")
    settings = DecodeSettings(exclude_eval=(str(tmp_path / "none"),), isolate=False)
    with pytest.raises(InputError, match="none of its 1 rows is an image"):
        EvaluationSets.find(settings).write(_nothing(tmp_path), settings)


def _nothing(tmp_path: Path) -> Any:
    from capfilt.ledger.ledger import Ledger

    return Ledger.at(tmp_path / "empty")


def test_the_command_refuses_before_any_work(tmp_path: Path, exam: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        ["run", str(exam), "--out", str(out), "--exclude-eval", str(tmp_path / "nowhere"), "--exclude-eval", str(exam)],
    )
    assert done.exit_code == 2
    assert "decode.exclude_eval" in done.output
    assert not out.exists()


KEEP_ALL = """
SELECT uid, candidate, true AS keep, row_number() OVER (PARTITION BY uid ORDER BY candidate) AS rank, 'all' AS reason
FROM captions
"""


def test_a_real_run_leaves_out_and_forgets(tmp_path: Path, exam: Path) -> None:
    """Through the engine: what is an exam picture or was forgotten is no image, and the run is whole."""
    from capfilt.pipelines.forget.forget import forget
    from capfilt.pipelines.recipes.load import load_recipe
    from capfilt.pipelines.stages.tombstones import Tombstones

    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        (photos / f"{number}.jpg").write_bytes(picture(number, 90))
        (photos / f"{number}.txt").write_text(f"picture {number}")
    (tmp_path / "all.sql").write_text(KEEP_ALL)
    settings = (
        "caption.n=0",
        "score.judges=[]",
        f"select.policy={tmp_path / 'all.sql'}",
        f"decode.exclude_eval=['{exam}']",
        "engine.kind='local'",
    )
    recipe = load_recipe("blip", settings)
    out = Run(tmp_path / "out", photos)
    Tombstones("ab" * 32).write(out.ledger.folder)
    outcome = run_all([str(photos)], str(out.out), recipe)
    assert (outcome.rows, outcome.selection.images) == (6, 3)
    assert outcome.notes == (f"{exam}: 1 rows of this evaluation set, which are not images",)
    assert out.status.failures == {"eval_leak": 3}
    forget(out.ledger.folder, [("uid", out.table("images")[0]["uid"])])
    again = run_all([str(photos)], str(out.out), recipe)
    assert (again.chunks_now, again.selection.images) == (0, 2)
    assert out.status.failures == {"eval_leak": 3, "forgotten": 1}
    assert os.listdir(out.out / "commits") == ["000000.parquet"]
    for name in ("commits", "images", "captions", "failures"):  # done again, it is left alone again
        (out.out / name / "000000.parquet").unlink()
    assert run_all([str(photos)], str(out.out), recipe).chunks_now == 1
    assert out.status.failures == {"eval_leak": 3, "forgotten": 1}
