"""What the guards cost: `capfilt run` on the same rows with all guards on and with all off, in turn.

    python tests/bench/guards/guards.py [--rows 1024] [--hosts 32] [--pairs 2]

The rows are pictures on a site of its own process, over loopback, under many host addresses: no wire hides the work.
The captioner and the filter are the demo's. `on` are the defaults of a recipe; `off` asks no site for consent, keeps
no distance, measures no rate, counts no metadata, and decodes in the worker itself. Throughput is taken between the
first and the last commit: starting Ray and loading models is not what guards have to do with.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

from capfilt.commands.run import run
from capfilt.core.storage import Folder
from capfilt.demo.world import jpeg, web_rows
from capfilt.ledger.status import status
from capfilt.pipelines.recipes.load import load_recipe

HERE: Final = Path(__file__).resolve()
CHUNK: Final = 32
STAGES: Final = ("fetch", "decode", "caption", "score", "commit")

BOTH: Final = (f"input.chunk_rows={CHUNK}", "fetch.allow_private=['127.0.0.0/8']", "fetch.ports=[]")
ON: Final = ("fetch.per_host=8", "fetch.per_host_rate=20", "fetch.backoff=0.5")
OFF: Final = (
    "fetch.opt_out=[]",
    "fetch.per_host_rate=0",
    "fetch.give_up=0",
    "fetch.min_rate=0",
    "decode.isolate=false",
    "decode.max_metadata=1000000000000",
    "decode.max_frames=1000000000",
)


@dataclass
class Way:
    """What runs of one way took."""

    rates: list[float] = field(default_factory=list)  # rows a second
    seconds: Counter[str] = field(default_factory=Counter)  # by stage
    rows: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description="What the guards cost.")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--hosts", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=2, help="runs of each way")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return 0
    ways = {True: Way(), False: Way()}
    with site(args.rows) as port, tempfile.TemporaryDirectory() as folder:
        urls = Path(folder, "urls.csv")
        hosts = [f"127.0.{n // 250}.{n % 250 + 1}" for n in range(args.hosts)]
        lines = [f"http://{hosts[n % len(hosts)]}:{port}/{n},a red circle\n" for n in range(args.rows)]
        urls.write_text("url,text\n" + "".join(lines))
        for pair in range(args.pairs):
            for on in (True, False) if pair % 2 else (False, True):
                measure(urls, Path(folder, f"{pair}-{on}"), on, ways[on])
    return tell(ways[True], ways[False], args)


def measure(urls: Path, out: Path, on: bool, way: Way) -> None:
    """One run."""
    run([str(urls)], str(out), load_recipe("demo", (*BOTH, *(ON if on else OFF))))
    state = status(Folder.at(out))
    assert state.images == state.rows_planned, state.failures
    times = sorted(path.stat().st_mtime for path in (out / "commits").glob("*.parquet"))
    way.rates.append((state.rows_done - CHUNK) / (times[-1] - times[0]))
    way.rows += state.rows_done
    [session] = (out / "sessions").glob("*.json")
    way.seconds.update(json.loads(session.read_text())["seconds"])
    print(f"{'on ' if on else 'off'} {way.rates[-1]:6.1f} rows/s", flush=True)


def tell(on: Way, off: Way, args: argparse.Namespace) -> int:
    """Print the figures; 1 if the guards cost more than one row in twenty."""
    print("ms a row, of a worker's time: " + ", ".join(f"{stage} {cost(on, off, stage)}" for stage in STAGES))
    with_guards, without = (sum(way.rates) / len(way.rates) for way in (on, off))
    share = 100 * with_guards / without
    print(f"rows {args.rows}, hosts {args.hosts}, {args.pairs} runs of each way in turn:")
    print(f"{with_guards:.1f} rows/s with all guards on, {without:.1f} with all off: {share:.1f} %")
    return 0 if share >= 95 else 1


def cost(on: Way, off: Way, stage: str) -> str:
    one, other = (1000 * way.seconds[stage] / way.rows for way in (on, off))
    return f"{one:.1f} / {other:.1f}"


@contextmanager
def site(count: int) -> Iterator[int]:
    """The site in a process of its own; gives its port."""
    command = [sys.executable, str(HERE), "--serve", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pictures: ClassVar[list[bytes]] = []

    def do_GET(self) -> None:
        name = self.path.strip("/")
        body = self.pictures[int(name) % len(self.pictures)] if name.isdigit() else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def serve(count: int) -> None:
    Handler.pictures = [jpeg(scene, 256) for scene, _ in web_rows(min(count, 128), seed=3)]
    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
