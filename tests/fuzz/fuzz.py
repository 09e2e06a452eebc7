"""Break thousands of real files, and see that every byte of them ends as a row: `make fuzz`. Some are bombs.

    python tests/fuzz/fuzz.py [--inputs 20000] [--first 0] [--seed 1] [--only N]

Inputs are numbered, and a number always means the same broken file: `--only N` shows what becomes of one. They are
taken by a worker process with 2 GiB of address space (and so has the process that decodes for it). If the worker dies
or says nothing for a minute, the input it was at counts as a crash or a hang, and the next worker goes on behind it.
"""

import argparse
import contextlib
import os
import re
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

HERE: Final = Path(__file__).resolve()
CORPUS: Final = HERE.parents[3] / "shared" / "data" / "malformed"
"""Broken pictures from elsewhere; they come first where they are there."""

MEMORY: Final = 2 << 30
"""Bytes of address space of a worker."""
READER: Final = 400_000_000
"""`input.memory`: bytes of the process that reads lists, tables and documents."""
SILENCE: Final = 60.0
"""Seconds without a sign of life after which a worker hangs."""
DEADLINE: Final = 10.0
"""Seconds one picture may take."""
AT_ONCE: Final = 40
"""Pictures decoded together."""
CONTAINERS: Final = 5
"""Every fifth input is a container."""
BOMBS: Final = 50
"""Every tenth container is one that unpacks to gigabytes, whole or broken."""

PLAIN: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,500}")


@dataclass
class Account:
    """What has become of the inputs."""

    inputs: int = 0
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)
    peak: int = 0  # bytes
    ends: Counter[str] = field(default_factory=Counter)  # inputs by what became of them

    def told(self) -> str:
        """The line."""
        counts = f"crashes {len(self.crashes)}, hangs {len(self.hangs)}, unaccounted {len(self.unaccounted)}"
        return f"inputs {self.inputs}, {counts}, peak memory {self.peak / 1e6:.0f} MB"

    @property
    def clean(self) -> bool:
        return not (self.crashes or self.hangs or self.unaccounted)


def main() -> int:
    parser = argparse.ArgumentParser(description="Break real files and see that each of them ends as a row.")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="take this input alone, and say what became of it")
    parser.add_argument("--worker", nargs=2, type=int, metavar=("FIRST", "END"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(range(*args.worker), args.seed)
        return 0
    numbers = range(args.only, args.only + 1) if args.only is not None else range(args.first, args.first + args.inputs)
    account = run(numbers, args.seed, verbose=args.only is not None)
    for kind in ("crashes", "hangs", "unaccounted"):
        for line in getattr(account, kind)[:20]:
            print(f"{kind}: {line}")
    print("became: " + ", ".join(f"{end} {count}" for end, count in account.ends.most_common()))
    print(account.told())
    return 0 if account.clean else 1


def run(numbers: range, seed: int, verbose: bool = False) -> Account:
    """Have workers take the inputs, one worker after the other."""
    account = Account()
    first = numbers.start
    while first < numbers.stop:
        first = _one_worker(range(first, numbers.stop), seed, account, verbose)
    return account


def _one_worker(numbers: range, seed: int, account: Account, verbose: bool) -> int:
    """Listen to a worker until it ends; gives the number to go on with."""
    command = [sys.executable, str(HERE), "--seed", str(seed), "--worker", str(numbers.start), str(numbers.stop)]
    settings = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    at, heard = range(numbers.start, numbers.start + 1), time.monotonic()
    with subprocess.Popen(
        command, env=os.environ | settings, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
    ) as worker:
        assert worker.stdout
        rest = b""
        while True:
            if select.select([worker.stdout], [], [], 1.0)[0]:
                data = os.read(worker.stdout.fileno(), 1 << 16)
                if not data:
                    break
                heard = time.monotonic()
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    at = _hear(line.decode(), at, account, verbose)
            elif time.monotonic() - heard > SILENCE:
                worker.kill()
                account.hangs.append(_named(at, seed))
                account.inputs += len(at)
                return at.stop
        if worker.wait() and len(at):
            account.crashes.append(f"{_named(at, seed)}: the worker ended with {worker.returncode}")
            account.inputs += len(at)
            return at.stop
    return numbers.stop


def _named(at: range, seed: int) -> str:
    return f"--seed {seed}, inputs {at.start} to {at.stop - 1}"


def _hear(line: str, at: range, account: Account, verbose: bool) -> range:
    """Take in a line of a worker: `at FIRST END`, `end NUMBER WHAT`, `lost NUMBER WHY`, `peak BYTES`."""
    word, _, rest = line.partition(" ")
    if verbose:
        print(line)
    if word == "at":
        return range(*map(int, rest.split()))
    number, _, what = rest.partition(" ")
    if word == "end":
        account.inputs += 1
        account.ends[what] += 1
        return range(int(number) + 1, at.stop)
    if word == "lost":
        account.unaccounted.append(f"input {number}: {what}")
    elif word == "raised":
        account.crashes.append(f"input {number}: {what}")
    elif word == "peak":
        account.peak = max(account.peak, int(number))
    return at


def work(numbers: range, seed: int) -> None:
    """What a worker does: take inputs and print what becomes of them."""
    from seeds import bombs, containers, pictures

    images = pictures()
    kinds = containers(images)
    packed = bombs(images[0])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    corpus = sorted(CORPUS.iterdir()) if CORPUS.is_dir() else []
    waiting: list[tuple[int, bytes]] = []
    for number in numbers:
        random = Random(f"{seed} {number}")
        if number < len(corpus):
            waiting.append((number, corpus[number].read_bytes()))
        elif number % CONTAINERS:
            waiting.append((number, _broken(random.choice(images), random, images)))
        else:
            say("at", number, number + 1)
            some = packed if number % BOMBS == 0 else kinds
            kind = random.choice(sorted(some))
            data = random.choice(some[kind])
            if some is kinds or random.random() < 0.5:  # a bomb that is broken may go off no more
                data = _broken(data, random, [one for same in kinds.values() for one in same])
            take_container(number, f"list.{kind}" if kind != "tar" else "shard.tar", data)
        if len(waiting) == AT_ONCE or (waiting and number == numbers[-1]):
            take_pictures(waiting)
            waiting = []
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    say("peak", 1024 * (sum(usage) + _decoder_memory()))


def _broken(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    from mutate import mutated

    return mutated(data, random, others)


def _decoder_memory() -> int:
    """The most memory of the process that decodes, in kilobytes: it still runs, so nobody has counted it yet."""
    from capfilt.pipelines.imaging.isolation import isolated

    status = Path(f"/proc/{isolated._PROCESSES.get()._process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+)", status)
    return int(found[1]) if found else 0


def say(*words: object) -> None:
    print(*words, flush=True)


def take_pictures(waiting: list[tuple[int, bytes]]) -> None:
    """Decode broken pictures as a chunk; each row must be a picture or a reason."""
    import pyarrow as pa

    from capfilt.core.config import DecodeSettings
    from capfilt.core.schema import ROWS
    from capfilt.models.pixels import PixelSpec
    from capfilt.pipelines.stages.decode import decode

    numbers = [number for number, _ in waiting]
    say("at", min(numbers), max(numbers) + 1)
    rows = [{"uid": f"{n:032x}", "source": f"fuzz#{n}", "texts": [], "image": data} for n, data in waiting]
    try:
        out = decode(
            pa.Table.from_pylist(rows, schema=ROWS), DecodeSettings(timeout=DEADLINE), [PixelSpec(32)]
        ).to_pylist()
    except Exception as error:
        for number in numbers:
            say("raised", number, f"{type(error).__name__}: {error}"[:300])
            say("end", number, "raised")
        return
    for number, row in zip(numbers, out, strict=True):
        say_row(number, row)
        say("end", number, row["reason"] or "image")


def say_row(number: int, row: dict[str, Any]) -> None:
    """Complain if a row is neither a picture nor a failure that a person understands."""
    from capfilt.core.schema import Reason

    alive = row["reason"] is None
    if alive and (row["image"] is None and row["url"] is None):
        say("lost", number, f"neither image nor reason: {row['source']}")
    if not alive and (row["reason"] not in set(Reason) or not row["stage"] or not PLAIN.fullmatch(row["detail"] or "")):
        say("lost", number, f"{row['stage']} {row['reason']} {row['detail']!r}"[:300])


def take_container(number: int, name: str, data: bytes) -> None:
    """Plan and read a folder with a broken container in it: as many rows as planned, or one clear line of refusal."""
    from capfilt.core.errors import UserError

    with _folder(name, data) as folder:
        try:
            end = _rows_of(number, folder)
        except UserError as error:
            end = "refused"
            if not PLAIN.fullmatch(str(error)):
                say("lost", number, f"refused in {str(error)!r}"[:300])
        except Exception as error:
            end = "raised"
            say("raised", number, f"{name}: {type(error).__name__}: {error}"[:300].replace("\n", " "))
    say("end", number, end)


def _rows_of(number: int, folder: Path) -> str:
    from capfilt.core.config import DecodeSettings, InputSettings
    from capfilt.pipelines.plan import make_plan
    from capfilt.pipelines.stages.decode import decode
    from capfilt.pipelines.stages.read import read

    plan = make_plan([str(folder)], InputSettings(chunk_rows=8, memory=READER))
    dead = 0
    for chunk in plan.chunks:
        rows = read(chunk, READER)
        if rows.num_rows != chunk.rows or len(set(rows["uid"].to_pylist())) != chunk.rows:
            say("lost", number, f"{rows.num_rows} rows, expected {chunk.rows}")
        out = (
            decode(rows, DecodeSettings(timeout=DEADLINE)).to_pylist()
            if rows["image"].null_count < rows.num_rows
            else []
        )
        for row in out or rows.to_pylist():
            if row["reason"] != "empty":  # rows of URLs have no bytes here
                say_row(number, row)
            dead += row["reason"] is not None
    return "container with failures" if dead else "container, whole"


@contextlib.contextmanager
def _folder(name: str, data: bytes) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="capfilt-fuzz-"))
    try:
        (folder / name).write_bytes(data)
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
