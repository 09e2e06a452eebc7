"""A bucket that is slow, breaks off or forgets: what is committed is whole, and pictures stay unfetched."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from bucket_weather import Weather, weather
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.query import run_query
from capfilt.pipelines.recipes.load import load_recipe
from staged_run import work_without_models

RECIPE = load_recipe("blip", ("decode.isolate=false", "input.chunk_rows=4"))
EVALUATION_IMAGES = 8


@pytest.fixture
def sky(s3: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    with weather(s3) as now:
        monkeypatch.setenv("AWS_ENDPOINT_URL", now.endpoint)
        yield now


def noise(seed: int) -> bytes:
    sink = io.BytesIO()
    grid = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(grid).save(sink, "JPEG", quality=95)
    return sink.getvalue()


def put_pictures(folder: Folder) -> None:
    for number in range(EVALUATION_IMAGES):
        folder.write(f"{number:02d}.jpg", noise(number))
        folder.write(f"{number:02d}.txt", f"picture {number}".encode())


def work(source: str, out: str) -> Ledger:
    return work_without_models(source, out, RECIPE)


def test_storms_cost_time_and_nothing_else(sky: Weather, bucket: str) -> None:
    put_pictures(Folder.at(f"{bucket}/in"))
    calm = work(f"{bucket}/in", f"{bucket}/calm")
    sky.faults = ("503", "reset", "truncate")
    rough = work(f"{bucket}/in", f"{bucket}/rough")
    assert min(sky.met[kind] for kind in sky.faults) >= 3
    sky.faults = ()
    rough.verify()
    for table in ("images", "captions", "failures", "commits", "decisions", "corpus"):
        names = calm.folder.names(table, ".parquet")
        assert names == rough.folder.names(table, ".parquet")
        for name in names:
            assert calm.folder.read(name) == rough.folder.read(name), name


def test_a_listing_that_lags_behind_makes_work_but_no_harm(sky: Weather, bucket: str) -> None:
    put_pictures(Folder.at(f"{bucket}/in"))
    ledger = work(f"{bucket}/in", f"{bucket}/out")
    before = {name: ledger.folder.read(name) for name in ledger.folder.names("commits", ".parquet")}
    sky.hidden = "out/commits/000001"
    assert len(ledger.todo()) == 1
    assert not status(ledger.folder).complete
    work(f"{bucket}/in", f"{bucket}/out")
    sky.hidden = ""
    stand = status(ledger.folder)
    assert (stand.complete, stand.balanced, stand.images) == (True, True, EVALUATION_IMAGES)
    assert before == {name: ledger.folder.read(name) for name in ledger.folder.names("commits", ".parquet")}
    ledger.verify()


def test_questions_do_not_fetch_pictures(sky: Weather, bucket: str) -> None:
    put_pictures(Folder.at(f"{bucket}/in"))
    ledger = work(f"{bucket}/in", f"{bucket}/out")
    infos = [ledger.folder.filesystem.get_file_info(ledger.folder.full(name)) for name in ledger.folder.names("images")]
    pictures = sum(info.size for info in infos)
    sky.bytes_out = 0
    assert run_query(ledger.folder, "SELECT count(*) AS n FROM images").to_pylist() == [{"n": EVALUATION_IMAGES}]
    counting = sky.bytes_out
    sky.bytes_out = 0
    wide = run_query(ledger.folder, "SELECT width, count(*) AS n FROM images GROUP BY ALL").to_pylist()
    assert wide == [{"width": 256, "n": EVALUATION_IMAGES}]
    by_width = sky.bytes_out
    sky.bytes_out = 0
    status(ledger.folder)
    standing = sky.bytes_out
    sky.bytes_out = 0
    run_query(ledger.folder, "SELECT max(octet_length(image.bytes)) FROM images")
    assert sky.bytes_out > pictures  # the count counts
    assert max(counting, by_width, standing) < pictures / 4
