"""A small run made by `capfilt.run`, in this process, that the tests of the Python API look at."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import capfilt
from capfilt.demo.world import jpeg, web_rows

ROWS = 30
HOSTILE = "<script>alert(1)</script> a red circle \x1b[2J"


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of 30 rows; every tenth one is no picture, one text is hostile."""
    path = tmp_path_factory.mktemp("input") / "pairs.parquet"
    rows = [
        {"image": b"<html>" if n % 10 == 3 else jpeg(scene, 64), "text": HOSTILE if n == 0 else row.text}
        for n, (scene, row) in enumerate(web_rows(ROWS, seed=5))
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="session")
def changes(checkpoint: Path) -> dict[str, Any]:
    """`set=`: the random model, small chunks, this process, and every text kept that is not empty."""
    return {
        "caption.captioner": checkpoint,
        "score.judges": [checkpoint],
        "caption.n": 2,
        "input.chunk_rows": 10,
        "engine.kind": "local",
        "engine.threads": 1,
        "select.policy": "all",
    }


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, pairs: Path, changes: dict[str, Any]) -> capfilt.Run:
    """A finished run; tests that change it make their own."""
    return capfilt.run(pairs, tmp_path_factory.mktemp("runs") / "made", set=changes)


@pytest.fixture
def served(pairs: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a real web server with one picture, `0.jpg`."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(pq.read_table(pairs)["image"][0].as_py())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
