"""Which steps are done, and of what: OUT/steps holds a file a step, written before it begins and when it is done."""

import hashlib
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from capfilt.bootstrap.steps import Step
from capfilt.core.errors import ChangedError, RunFailed
from capfilt.core.storage import Folder

STEPS: Final = "steps"
ASIDE: Final = {"training", ".lock"}
"""What lies beside a checkpoint and does not change what it says: the course of its training."""

RunCommand = Callable[[tuple[str, ...]], int]
"""Runs a command line behind `capfilt`; its exit code."""


def run_step(step: Step, out: Path, do: RunCommand, say: Callable[[str], None]) -> bool:
    """Have a step done, unless it is done and nothing it reads has changed; True if it was.

    One that was killed goes on: its command does. What was made of other inputs is removed and made anew.

    Raises:
        ChangedError: something stands where the step would write, and no bootstrap has put it there.
        RunFailed: the command failed.
    """
    note = f"{step.name.replace('/', '-')}.json"
    path = out / STEPS / note
    wanted = {"command": list(step.command), "reads": {place: digest(place) for place in step.reads}}
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = {key: old.get(key) for key in wanted} == wanted
    if same and old.get("done") and step.makes.exists():
        say(f"unchanged: {step.name}")
        return False
    if not same and step.makes.exists():
        if not old:
            raise ChangedError(f"{step.makes} is there, but no bootstrap made it; use another --out")
        _remove(step.makes)
    folder = Folder.at(out / STEPS)
    folder.write(note, _json(wanted | {"done": False}))
    say(f"{step.name}: capfilt {shlex.join(step.command)}")
    code = do(step.command)
    if code:
        raise RunFailed(f"step {step.name} ended with exit code {code}; the same command goes on from there")
    folder.write(note, _json(wanted | {"done": True}))
    return True


def digest(place: str) -> str:
    """What stands at a place: of local files their bytes; of anything else its name."""
    path = Path(place)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []
    total = hashlib.sha256(b"" if files else place.encode())
    for file in files:
        inside = file.relative_to(path).parts
        if ASIDE.isdisjoint(inside):
            total.update("/".join(inside).encode() + b"\0")
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _json(value: dict[str, object]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
