"""Floods, images of many pixels and a table that unpacks to a gigabyte in one chunk: every process keeps its bound."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.commands.run import run
from capfilt.core.processes import memory
from capfilt.core.storage import Folder
from capfilt.ledger.status import status
from capfilt.pipelines.imaging.isolation import isolated
from capfilt.pipelines.recipes.load import load_recipe
from flood import flooding
from peak_of_this_process import peak_growth
from pictures import picture

BOUNDS = {"driver": 400_000_000, "reader": 300_000_000, "decoder": 900_000_000}
"""Of the driver what it grows by: with `engine.kind = "local"` it fetches, too, and here the site is part of it."""

SETTINGS = (
    "engine.kind='local'",
    "caption.n=0",
    "score.judges=[]",
    "select.policy='all'",
    "input.memory=120000000",
    "fetch.chunk_bytes=40000000",
    "fetch.concurrency=94",
    "fetch.allow_private=['127.0.0.0/8']",
    "fetch.ports=[]",
    "fetch.timeout=100",
    "fetch.opt_out=[]",
    "run.max_failures=1",
)


def test_hostile_hosts_and_files_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    pixels = io.BytesIO()
    Image.new("1", (5000, 5000)).save(pixels, "PNG")
    once = pa.array([0] * 200, pa.int32())
    value = pa.DictionaryArray.from_arrays(once, pa.array([picture(0) + bytes(4_000_000)]))
    bomb = pa.table({"image": value, "text": ["a"] * 200})
    pq.write_table(bomb, inputs / "bomb.parquet", dictionary_pagesize_limit=2**31 - 1, store_schema=False)
    small = {f"/{number}.png": (200, {}, picture(number)) for number in range(20)}
    isolated._PROCESSES.close()
    monkeypatch.setattr(memory, "_CHILDREN", {})
    with flooding({"/pixels.png": (200, {}, pixels.getvalue()), **small}) as port:
        urls = [f"http://127.0.1.{host}:{port}/large" for host in range(64)]
        urls += [f"http://127.0.2.{host}:{port}/pixels.png" for host in range(10)]
        urls += [f"http://127.0.3.1:{port}{path}" for path in small]
        (inputs / "urls.csv").write_text("url,text\n" + "".join(f"{url},a text\n" for url in urls))
        with peak_growth() as grown:
            run([str(inputs)], str(out), load_recipe("blip", SETTINGS))
    state = status(Folder.at(str(out)))
    images = pq.read_table(out / "images", columns=["url"])["url"].to_pylist()
    assert sorted(filter(None, images)) == sorted(urls[64:])
    assert set(state.failures) == {"bad_container", "chunk_full", "not_an_image"}
    assert state.memory.keys() == BOUNDS.keys()
    taken = state.memory | {"driver": grown[0]}
    assert {kind: size for kind, size in taken.items() if size > BOUNDS[kind]} == {}
