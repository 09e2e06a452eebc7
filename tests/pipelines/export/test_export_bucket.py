"""dedup, export and forget on a run in a bucket, into a bucket."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from capfilt.core import schema
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.dedup.dedup import find_duplicates
from capfilt.pipelines.export.export import FORMATS, MANIFEST, export
from capfilt.pipelines.forget.forget import forget
from capfilt.pipelines.recipes.load import load_recipe
from staged_run import work_without_models


def finished(out: str, source: Path) -> Ledger:
    """A run over four pictures, two of them alike, whose every text scores high."""
    source.mkdir()
    for number in range(4):
        sink = io.BytesIO()
        grid = np.random.default_rng(number % 3).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(grid).resize((48 + number, 48), Image.Resampling.BICUBIC).save(sink, "JPEG")
        (source / f"{number}.jpg").write_bytes(sink.getvalue())
        (source / f"{number}.txt").write_text(f"picture {number}")
    return work_without_models(str(source), out, load_recipe("blip", ("decode.isolate=false",)))


def test_a_bucket_does_as_a_folder_does(bucket: str, tmp_path: Path) -> None:
    ledger = finished(f"{bucket}/out", tmp_path / "in")
    assert find_duplicates(ledger.folder, radius=4, similarity=0.8).images.spare == 1
    for kind in ("parquet", "hf", "open_clip", "webdataset"):
        done = export(ledger.folder, f"{bucket}/{kind}", kind, FORMATS[kind]())
        assert (done.images, done.fresh) == (4, True)
        assert not export(ledger.folder, f"{bucket}/{kind}", kind, FORMATS[kind]()).fresh
        assert json.loads(Folder.at(f"{bucket}/{kind}").read(MANIFEST))["whole"]
    uid = ledger.dataset("images", schema.IMAGES).to_table(["uid"])["uid"][0].as_py()
    found = forget(ledger.folder, [("uid", uid)])
    assert {use.name for use in found.used_by[1:]} == {
        f"export {bucket}/{kind} ({kind})" for kind in ("hf", "open_clip", "parquet", "webdataset")
    }
    stand = status(ledger.folder)
    assert (stand.balanced, stand.selected, stand.images, stand.failures) == (True, True, 3, {"forgotten": 1})
    Ledger(ledger.folder).verify()
