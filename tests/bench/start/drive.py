"""One start of the demo, in a process of its own; writes what it saw until the first commit to FOLDER/start.json.

    drive.py FOLDER IMAGES STARTED

STARTED is when the process was started, in seconds since 1970: imports count.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from capfilt.commands.run import RunProgress
from capfilt.demo.runner import demo
from capfilt.pipelines.recipes.load import load_recipe


def processes(started: float) -> list[dict[str, Any]]:
    """This process and all below it: what each is, when it was started, and the CPU seconds that it took so far."""
    ticks, booted = os.sysconf("SC_CLK_TCK"), time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    stats = {int(folder.name): stat for folder in Path("/proc").glob("[0-9]*") if (stat := _stat(folder))}
    ours, found = {os.getpid()}, []
    for pid, (parent, user, system, begun) in sorted(stats.items(), key=lambda one: one[1][3]):
        if parent in ours or pid in ours:
            ours.add(pid)
            at = booted + begun / ticks - started
            found.append({"what": _name(_words(pid)), "at": at, "cpu_s": (user + system) / ticks})
    return found


def _stat(folder: Path) -> tuple[int, int, int, int] | None:
    """Parent, ticks in user and kernel mode, and the tick of its start; None = it has ended."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), int(fields[11]), int(fields[12]), int(fields[19])


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _name(words: list[str]) -> str:
    """What a process is, in a word or two: `ray::ModelActor`, `raylet`, `decoder`."""
    line = " ".join(words)
    if line.startswith("ray::"):
        return line.split("(")[0].split(".")[0]
    if "isolation.child" in line:
        return "decoder"
    names = [Path(word).name for word in words if not word.startswith("-")]
    return " ".join(names[:2]) if names and names[0].startswith("python") else (names or ["?"])[0]


def main(folder: str, images: str, started: str) -> None:
    """Run it; the figures are taken when the first commit is heard."""
    began, told = float(started), {"imported": time.time() - float(started)}
    seen: list[dict[str, Any]] = []

    def hear(progress: RunProgress) -> None:
        if progress.phase == "work" and not seen:
            seen.extend(processes(began))
        told.setdefault(progress.phase, time.time() - began)

    demo(Path(folder, "out"), int(images), 0, recipe=load_recipe("demo", ("engine.workers=1",)), listener=hear)
    Path(folder, "start.json").write_text(json.dumps({"phases": told, "processes": seen}))


if __name__ == "__main__":
    main(*sys.argv[1:])
