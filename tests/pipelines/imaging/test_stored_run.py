"""A run that stores smaller images: corpus, exports and training read them, and `verify` and `status` agree."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.commands.run import run
from capfilt.core.errors import ChangedError
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.export.export import FORMATS, export
from capfilt.pipelines.recipes.load import load_recipe

PLAIN = ("caption.n=0", "score.judges=[]", "select.policy=all", "engine.kind=local", "input.chunk_rows=2")
SMALL = (*PLAIN, "output.pixels=resized", "output.image_size=40", "output.encode_format=webp")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(4):
        Image.new("RGB", (120, 80), (60 * number, 90, 10)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "out"
    run([str(images)], str(folder), load_recipe("blip", SMALL))
    return folder


def test_every_reader_sees_what_is_stored(out: Path, tmp_path: Path) -> None:
    Ledger.at(out).verify()
    state = status(Folder.at(out))
    assert state.balanced
    assert state.stored == "keep_ratio 40, webp 95"
    export(Folder.at(out), str(tmp_path / "export"), "parquet", FORMATS["parquet"]())
    for table in (out / "images", out / "corpus", tmp_path / "export" / "data"):
        rows = [row for file in sorted(table.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
        assert len(rows) == 4
        for row in rows:
            assert row["image"]["path"] == f"{row['uid']}.webp"
            assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (60, 40)
            assert (row["width"], row["height"]) == (120, 80)


def test_an_interrupted_run_resumes_with_the_same_bytes(out: Path, images: Path, tmp_path: Path) -> None:
    whole = {path.name: path.read_bytes() for path in (out / "images").glob("*.parquet")}
    (out / "commits" / "000001.parquet").unlink()
    (out / "images" / "000001.parquet").unlink()
    run([str(images)], str(out), load_recipe("blip", SMALL))
    assert {path.name: path.read_bytes() for path in (out / "images").glob("*.parquet")} == whole


def test_a_resume_with_other_stored_pixels_is_refused(out: Path, images: Path) -> None:
    for settings, said in ((PLAIN, "output.pixels = resized"), ((*SMALL, "output.image_size=41"), "image_size = 40")):
        with pytest.raises(ChangedError, match=said):
            run([str(images)], str(out), load_recipe("blip", settings))
