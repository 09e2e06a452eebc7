"""A site that is ill until somebody heals it, a tiny random model, and chunks committed without Ray."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from capfilt.demo.world import jpeg, web_rows


class Site(ThreadingHTTPServer):
    """Pictures by number; `ill` maps numbers to the status they give until `heal`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pictures = [(jpeg(scene, 64), row.text) for scene, row in web_rows(60, seed=5)]
        self.ill: dict[int, int] = {}
        self.asked: Counter[int] = Counter()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Nothing: a killed run hangs up."""


class Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.strip("/").removesuffix(".jpg")
        status, body = 404, b""
        if name.isdigit():
            self.server.asked[int(name)] += 1
            status = self.server.ill.get(int(name), 200)
            body = self.server.pictures[int(name)][0] if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
    yield site
    site.shutdown()
    site.server_close()


@pytest.fixture
def url_list(tmp_path: Path) -> Callable[[Site, int], Path]:
    """A list of the site's first pictures, and of one picture that never was."""

    def write(site: Site, count: int) -> Path:
        path = tmp_path / "urls.tsv"
        lines = [f"{site.url}/{n}.jpg\t{site.pictures[n][1]}\n" for n in range(count)]
        path.write_text("url\ttext\n" + "".join([*lines, f"{site.url}/gone.jpg\tgone\n"]))
        return path

    return write


@pytest.fixture
def settings(checkpoint: Path) -> tuple[str, ...]:
    """--set values: the random model, small chunks, no Ray, and a downloader in a hurry."""
    return (
        f"caption.captioner='{checkpoint}'",
        f"score.judges=['{checkpoint}']",
        "input.chunk_rows=8",
        "engine.kind='local'",
        "engine.threads=1",
        "fetch.allow_private=['127.0.0.0/8']",
        "fetch.ports=[]",
        "fetch.retries=0",
        "fetch.per_host_rate=0",
        "fetch.give_up=0",
    )
