"""A process that dies of a row, in reading, fetching or decoding: the row that kills twice fails, and no other does.

The deaths are real: processes forked from one that has everything loaded, one after the other as Ray would start them.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misbehaving_web import SmallSite
from pictures import picture

PROCESSES = """
import json, os, signal, sys
from multiprocessing import Pipe
from capfilt.core.config import DecodeSettings, FetchSettings, InputSettings, Recipe
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk
from capfilt.pipelines.engine.chunk.stages import Job, make_stages
from capfilt.pipelines.engine.death_journal import DeathLog
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.stages import decode, read

folder, deadly = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def deadly_file(part, memory, real=read._raw):
    return die() if deadly == "read" and "deadly" in part.file else real(part, memory)

def deadly_image(files, *rest, real=decode._decode_here):
    return die() if deadly == "decode" and b"deadly" in [bytes(file or b"") for file in files] else real(files, *rest)

read._raw, decode._decode_here = deadly_file, deadly_image

class PipeJournal:
    def __init__(self, line, stage):
        self.line, self.stage = line, stage
    def ask(self, what, *values):
        self.line.send((what, ("000000", self.stage), *values))
        return self.line.recv()
    def begin(self): return self.ask("begin")
    def enter(self, part): self.ask("enter", part)
    def leave(self): self.ask("enter", ())
    def end(self): self.ask("end")

settings = InputSettings(memory=0)
recipe = Recipe(
    input=settings, decode=DecodeSettings(isolate=False),
    fetch=FetchSettings(allow_private=("127.0.0.0/8",), ports=(), opt_out=(), timeout=150),
)
[chunk] = make_plan([folder], settings).chunks
log, deaths = DeathLog(), 0
while True:
    ours, theirs = Pipe()
    pid = os.fork()
    if not pid:
        ours.close()
        stages = make_stages(("fetch", "decode"), Job(folder, recipe, ()), lambda stage: PipeJournal(theirs, stage))
        rows = None
        for stage in stages.values():
            rows = stage(rows, PlannedChunk(chunk, ""))
        told = rows.select(["source", "stage", "reason", "detail"]).to_pylist()
        print(json.dumps({"deaths": deaths, "rows": told}), flush=True)
        os._exit(0)
    theirs.close()
    try:
        while True:
            what, *arguments = ours.recv()
            ours.send(getattr(log, what)(*arguments))
    except EOFError:
        pass
    if os.waitpid(pid, 0)[1] == 0:
        break
    deaths += 1
"""


def kill_who_asks(handler: BaseHTTPRequestHandler) -> None:
    """SIGKILL to the process at the other end of the connection."""
    address, port = handler.client_address
    mine = "".join(f"{int(number):02X}" for number in reversed(address.split("."))) + f":{port:04X}"
    # Again where it is not found: what /proc lists is no snapshot while processes come and go.
    while not (who := holder(mine)):
        time.sleep(0.05)
    os.kill(who, signal.SIGKILL)


def holder(mine: str) -> int | None:
    """The process that holds the socket with this local address, as /proc/net/tcp writes it."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    inode = next((line[9] for line in lines if line[1] == mine), None)
    for name in filter(str.isdigit, os.listdir("/proc")):
        fds = f"/proc/{name}/fd"
        with contextlib.suppress(OSError):  # it ended meanwhile, or closed what was listed
            if f"socket:[{inode}]" in {os.readlink(f"{fds}/{number}") for number in os.listdir(fds)}:
                return int(name)
    return None


def results(folder: Path, deadly: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES, str(folder), deadly], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def failed(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {row["source"].rpartition("/")[2]: (row["stage"], row["reason"]) for row in found["rows"] if row["reason"]}


def test_a_url_that_kills_the_process_that_fetches_it(tmp_path: Path, small_site: Callable[..., SmallSite]) -> None:
    image = (200, {}, picture(0))
    site: SmallSite = small_site({"/deadly.jpg": kill_who_asks, "*": image})
    names = ["0.jpg", "1.jpg", "deadly.jpg", "3.jpg", "4.jpg"]
    (tmp_path / "a.csv").write_text("url,text\n" + "".join(f"{site.url}/{name},a\n" for name in names))
    found = results(tmp_path, "fetch")
    assert failed(found) == {"a.csv#2": ("fetch", "poison")}
    assert found["rows"][2]["detail"] == "the process died with this row, twice"
    assert 4 <= found["deaths"] <= 8


@pytest.mark.parametrize(("deadly", "reason"), [("read", "bad_container"), ("decode", "codec_crash")])
def test_a_file_that_kills_the_process_that_reads_or_decodes_it(deadly: str, reason: str, tmp_path: Path) -> None:
    for name in ("a", "deadly", "c"):
        images = [picture(0), b"deadly" if name == "deadly" else picture(1)]
        pq.write_table(pa.table({"image": images, "text": ["a", "b"]}), tmp_path / f"{name}.parquet")
    found = results(tmp_path, deadly)
    bad = ["deadly.parquet#0", "deadly.parquet#1"] if deadly == "read" else ["deadly.parquet#1"]
    assert failed(found) == {source: (deadly, reason) for source in bad}
    assert len(found["rows"]) == 6
    assert 3 <= found["deaths"] <= 8
