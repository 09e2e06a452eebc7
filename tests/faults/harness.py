"""Faults at random moments of a run of 2,000 rows, and whether anything is lost.

    python tests/faults/harness.py --faults 100        (`make faults`)

A round starts `capfilt run`, disturbs it at random numbers of commits, starts it again whenever it ended, and compares
every table with those of a run nobody disturbed. The pictures come from a web server, which is stalled at times. Ray is
a cluster of two nodes, one of which is killed at times.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from cluster import Cluster, kill
from faulty import FOLDER, KINDS

from capfilt.demo.world import web_rows
from capfilt.demo.world.server import HOST
from capfilt.demo.world.site import pages
from capfilt.models.formats.weights import save_med
from capfilt.models.med.config import SIZES
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer

TABLES = ("images", "captions", "failures", "commits", "decisions", "corpus")
PATIENCE = 300.0
"""Seconds without a commit, starts of the driver included; a run that hangs is not one that survived."""


@dataclass
class Stage:
    """Where a round takes place."""

    folder: Path  # of the captioner: checkpoint/, tokens/
    urls: Path
    site: "subprocess.Popen[str]"
    cluster: Cluster
    rng: random.Random
    chunk_rows: int
    done: Counter[str] = field(default_factory=Counter)  # faults by kind


class Unsurvived(AssertionError):
    """A run that did not come back, or came back with other bytes."""


def kill_driver(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
    driver.kill()
    driver.wait()  # else the next fault may take it for alive
    return True


def terminate_driver(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
    driver.terminate()
    code = driver.wait()
    if code not in (128 + signal.SIGTERM, 0):
        raise Unsurvived(f"SIGTERM ended the run with exit code {code}")
    return code != 0


def kill_actor(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
    return _kill_one(stage, stage.cluster.workers("ModelActor"))


def kill_worker(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
    actors = {pid for name in ("ModelActor", "DeathLog") for pid in stage.cluster.workers(name)}
    return _kill_one(stage, [pid for pid in stage.cluster.workers() if pid not in actors])


def _kill_one(stage: Stage, pids: Sequence[int]) -> bool:
    if not pids:
        return False
    kill([stage.rng.choice(pids)])
    return True


def kill_node(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
    return stage.cluster.kill_second()


def fail_put(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
    """For a moment no file of a table can be written: its folder is away and a file stands in its place."""
    table = out / stage.rng.choice(["images", "captions", "failures", "commits"])
    if not table.is_dir():
        return False
    away = table.with_name(f"{table.name}.away")
    table.rename(away)
    table.touch()
    time.sleep(stage.rng.uniform(0.2, 1.5))
    table.unlink()
    away.rename(table)
    return True


def fill_disk(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
    """No space left on the device, if OUT has one of its own."""
    if not os.path.ismount(out.parent):
        return False
    filler = out.parent / "filler"
    try:
        with filler.open("wb") as stream:
            while True:
                stream.write(bytes(1 << 20))
    except OSError:
        time.sleep(stage.rng.uniform(0.2, 1.5))
    filler.unlink()
    return True


def stall_site(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
    stage.site.send_signal(signal.SIGSTOP)
    time.sleep(stage.rng.uniform(0.5, 3))
    stage.site.send_signal(signal.SIGCONT)
    return True


def ask_captioner(kind: str) -> Callable[[Stage, "subprocess.Popen[bytes]", Path], bool]:
    def ask(stage: Stage, driver: "subprocess.Popen[bytes]", out: Path) -> bool:
        token = stage.folder / "tokens" / f"{kind}-{time.monotonic_ns()}"
        token.touch()
        until = time.monotonic() + 30
        while token.exists() and driver.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        happened = not token.exists()
        token.unlink(missing_ok=True)
        return happened

    return ask


FAULTS: dict[str, Callable[[Stage, "subprocess.Popen[bytes]", Path], bool]] = {
    "driver killed": kill_driver,
    "driver terminated": terminate_driver,
    "model actor killed": kill_actor,
    "worker killed": kill_worker,
    "node killed": kill_node,
    "put fails": fail_put,
    "disk full": fill_disk,
    "web server stalls": stall_site,
    **{f"captioner: {kind}": ask_captioner(kind) for kind in KINDS},
}


@contextmanager
def prepared(folder: Path, rows: int, seed: int, chunk_rows: int = 25) -> Iterator[Stage]:
    """A web site with `rows` pictures, the list of their URLs, and the captioner's folder."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_words(row.text for _, row in web_rows(300, seed=0))
    model = MED(replace(SIZES["med-tiny"], vocab_size=len(tokenizer)))
    save_med(folder / "checkpoint", model, tokenizer, ("captioner", "filter"))
    (folder / "tokens").mkdir(parents=True)
    command = [sys.executable, "-m", "capfilt.demo.world.server", f"--images={rows}", "--port=8517", "--tries=50"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as site:
        assert site.stdout is not None
        port = int(site.stdout.readline())
        calm = [page for page in pages(rows, 0) if page.trouble.name not in ("SLOW", "SILENT", "FLAKY")]
        urls = [f"http://{HOST}:{port}/{page.name}" for page in calm]
        pq.write_table(pa.table({"url": urls, "text": [page.row.text for page in calm]}), folder / "urls.parquet")
        try:
            with Cluster(folder / "ray.log", environment(folder)) as cluster:
                yield Stage(folder, folder / "urls.parquet", site, cluster, random.Random(seed), chunk_rows)
        finally:
            site.kill()


def environment(folder: Path) -> dict[str, str]:
    """Of every process that loads the captioner."""
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return dict(os.environ) | {FOLDER: str(folder), "PYTHONPATH": paths}


@contextmanager
def driver(stage: Stage, out: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`capfilt run` as a process of its own."""
    checkpoint = stage.folder / "checkpoint"
    settings = {
        "caption.captioner": "'python:faulty:Faulty'",
        "caption.max_tokens": "6",
        "score.judges": f"['{checkpoint}']",
        "input.chunk_rows": f"{stage.chunk_rows}",
        "fetch.allow_private": "['127.0.0.0/8']",
        "fetch.ports": "[]",
        "fetch.per_host_rate": "0",
        "fetch.give_up": "0",
        "fetch.per_host": "64",
        "fetch.timeout": "60.0",
        "fetch.opt_out": "[]",
        "engine.address": f"'{stage.cluster.address}'",
        "engine.resources": "{fetch = {CPU = 0.8}}",  # fewer processes: each start of the driver costs their imports
    }
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "capfilt", "run", str(stage.urls), "--out", str(out), *sets, *options]
    log = (stage.folder / "log").open("ab")
    with log, subprocess.Popen(command, env=stage.cluster.environment, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()


def commits(out: Path) -> int:
    try:
        return sum(name.endswith(".parquet") and not name.startswith(".") for name in os.listdir(out / "commits"))
    except OSError:
        return 0


def at_work(stage: Stage, since: int) -> bool:
    """Whether the driver whose log begins at byte `since` has done a chunk itself.

    Workers of the driver before may commit, and its actors start anew, while this one still starts; SIGTERM has to wait
    for Ray's start.
    """
    with (stage.folder / "log").open("rb") as log:
        log.seek(since)
        return b"\nworking: " in log.read()


def undisturbed(stage: Stage, out: Path, *options: str) -> None:
    with driver(stage, out, *options) as process:
        if process.wait(2 * PATIENCE):
            raise Unsurvived(f"the undisturbed run ended with exit code {process.returncode}; see {stage.folder}/log")


def disturbed(stage: Stage, out: Path, kinds: Sequence[str], until: int) -> None:
    """One run with these faults, each at a random number of commits below `until`; started again whenever it ended."""
    moments = sorted(stage.rng.sample(range(1, until), len(kinds)))
    early = sorted(kinds, key=lambda kind: not kind.startswith("captioner"))  # captions are done long before commits
    ahead = list(zip(moments, early, strict=True))
    seen, since, last = 0, time.monotonic(), 0
    while True:
        log = (stage.folder / "log").stat().st_size
        with driver(stage, out) as process:
            working = False
            while process.poll() is None:
                working = working or at_work(stage, log)
                if (now := commits(out)) != seen:
                    seen, since = now, time.monotonic()
                if time.monotonic() - since > PATIENCE:
                    raise Unsurvived(f"the run hangs after {dict(stage.done)}; see {stage.folder}/log")
                if ahead and working and seen >= max(ahead[0][0], last + 1):  # a fault has its consequences first
                    kind = ahead.pop(0)[1]
                    stage.done[kind] += FAULTS[kind](stage, process, out)
                    last = commits(out)
                time.sleep(0.02)
            if process.returncode == 0:
                return
            if process.returncode == 2:
                raise Unsurvived(f"the run was refused after {dict(stage.done)}; see {stage.folder}/log")


def compare(calm: Path, out: Path) -> tuple[int, int]:
    """Rows lost and rows doubled in any table.

    Raises:
        Unsurvived: a file that is not byte for byte the undisturbed one.
    """
    lost = doubled = 0
    for table in TABLES:
        names = {path.name for path in (calm / table).glob("*.parquet")}
        if names != {path.name for path in (out / table).glob("*.parquet")}:
            raise Unsurvived(f"{table}/ holds other files than the undisturbed run's")
        changed = [
            name for name in sorted(names) if (calm / table / name).read_bytes() != (out / table / name).read_bytes()
        ]
        if changed:
            what = _what_differs(calm / table / changed[0], out / table / changed[0])
            raise Unsurvived(f"{len(changed)} of {len(names)} files of {table}/ differ; {changed[0]}: {what}")
        if table in ("images", "failures"):
            wanted = pq.read_table(calm / table, columns=["uid"])["uid"].to_pylist()
            found = Counter(pq.read_table(out / table, columns=["uid"])["uid"].to_pylist())
            lost += len(set(wanted) - set(found))
            doubled += found.total() - len(found)
    return lost, doubled


def _what_differs(one: Path, other: Path) -> str:
    """The first rows that are not the same, and how many there are."""
    rows = list(zip(pq.read_table(one).to_pylist(), pq.read_table(other).to_pylist(), strict=False))
    apart = [{key: (a[key], b[key]) for key in a if a[key] != b[key]} for a, b in rows if a != b]
    return f"{len(apart)} of {len(rows)} rows, first {apart[:2]}"


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A small disk of its own for OUT where this process may mount one, else a folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def survive(folder: Path, faults: int, a_round: int, rows: int, seed: int) -> Counter[str]:
    """Rounds until `faults` have happened; which ones they were.

    Raises:
        Unsurvived: at the first round that does not end like the undisturbed run.
    """
    with prepared(folder, rows, seed) as stage:
        calm = folder / "calm"
        undisturbed(stage, calm)
        number = 0
        while stage.done.total() < faults:
            number += 1
            kinds = stage.rng.choices(list(FAULTS), k=a_round) if number > 1 else _one_of_each(stage.rng, a_round)
            with disk(folder / f"round-{number}") as place:
                disturbed(stage, place / "out", kinds, commits(calm) - 4)
                lost, doubled = compare(calm, place / "out")
            print(f"round {number}: faults {stage.done.total()}, rows lost {lost}, rows doubled {doubled}", flush=True)
            if lost or doubled:
                raise Unsurvived(f"rows lost {lost}, rows doubled {doubled}")
        return stage.done


def _one_of_each(rng: random.Random, count: int) -> list[str]:
    kinds = [*FAULTS, *rng.choices(list(FAULTS), k=count)]
    return rng.sample(kinds[: max(count, len(FAULTS))], count)


def main() -> None:
    parser = argparse.ArgumentParser(description="Disturb runs and see whether anything is lost.")
    parser.add_argument("--faults", type=int, default=100, help="faults in all (default 100)")
    parser.add_argument("--a-round", type=int, default=12, help="faults a run (default 12)")
    parser.add_argument("--rows", type=int, default=2400, help="rows of the input, before slow pages are left out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="capfilt-faults-"))
    done = survive(folder / "stage", args.faults, args.a_round, args.rows, args.seed)
    for kind, count in sorted(done.items()):
        print(f"{count:5}  {kind}")
    print(f"faults {done.total()}, survived {done.total()}, rows lost 0, rows doubled 0")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
