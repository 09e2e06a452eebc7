"""Which steps are complete, and from which inputs: OUT/steps holds one file per step, written before and after it."""

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
"""Files in a checkpoint folder that the model does not depend on, such as its training log: not part of a digest."""

RunCommand = Callable[[tuple[str, ...]], int]
"""Runs the arguments of a capfilt command; returns its exit code."""


def run_step(step: Step, out: Path, do: RunCommand, say: Callable[[str], None]) -> bool:
    """Run a step unless it is complete and its inputs are unchanged; True if it ran.

    An interrupted step resumes, because its command does. The output of other inputs is deleted first.

    Raises:
        ChangedError: the output exists, but no bootstrap wrote it.
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
            raise ChangedError(f"{step.makes} exists, but was not written by a bootstrap; use another --out")
        _remove(step.makes)
    folder = Folder.at(out / STEPS)
    # Before the work: what an interrupted step leaves is known for ours, and may be resumed or deleted.
    folder.write(note, _json(wanted | {"done": False}))
    say(f"{step.name}: capfilt {shlex.join(step.command)}")
    code = do(step.command)
    if code:
        raise RunFailed(f"step {step.name} failed with exit code {code}; re-run the same command to resume")
    folder.write(note, _json(wanted | {"done": True}))
    return True


def digest(place: str) -> str:
    """Digest of an input: of the bytes of local files, or of the name of anything else."""
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
