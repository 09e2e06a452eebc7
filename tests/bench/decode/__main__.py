"""CPU time to turn JPEG files into facts and pixels, beside plain Pillow and beside torch's resize.

    python tests/bench/decode [FOLDER] [--rounds 5] [--out DIR]

FOLDER holds .jpg files; without it, 48 of 640 x 480 are made. Times are CPU milliseconds a picture, one thread, the
best of the rounds, the decoding process included where there is one. Every alternative is timed on the same files in
the same run.
"""

import argparse
import io
import json
import os
import platform
import resource
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from capfilt import __version__
from capfilt.core.config import DecodeSettings
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.fingerprints.phash import phash
from capfilt.pipelines.imaging.geometry.resize import square
from capfilt.pipelines.imaging.image_file import load_image, read_header
from capfilt.pipelines.imaging.isolation import isolated
from capfilt.pipelines.stages.decode import _decode_here

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "models"))
from material import photos  # noqa: E402

MARK: Final = "<!-- results -->\n"
ONE: Final = (PixelSpec(384),)
TWO: Final = (PixelSpec(384), PixelSpec(224, "crop"))
GATES: Final = {"stage, isolated: 384": 4.5, "stage, isolated: 384 and 224": 6.0}
"""CPU milliseconds a picture that the stage may take at most."""


def cpu_seconds() -> float:
    """CPU time of this process, and of the children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(work: Callable[[], object], pictures: int, turns: int) -> float:
    """CPU milliseconds a picture, the best of some rounds."""
    rounds = []
    for _ in range(turns):
        began = cpu_seconds()
        work()
        rounds.append(cpu_seconds() - began)
    return 1000 * min(rounds) / pictures


def isolated_time(files: Sequence[bytes], specs: Sequence[PixelSpec], turns: int) -> float:
    """CPU milliseconds a picture with the decoding process: what one pass more costs when it is running already."""

    def passes(count: int) -> float:
        began = cpu_seconds()
        for _ in range(count):
            isolated.decode_isolated(files, specs, DecodeSettings(), 1)
        isolated._PROCESSES.close()  # its CPU time is known when it has ended
        return cpu_seconds() - began

    return 1000 * min(passes(3) - passes(1) for _ in range(turns)) / 2 / len(files)


def by_pillow(data: bytes, specs: Sequence[PixelSpec]) -> None:
    """What a loader does that checks nothing and keeps nothing."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    for spec in specs:
        np.asarray(pillow_square(picture, spec))


def pillow_square(picture: Image.Image, spec: PixelSpec) -> Image.Image:
    """A square by Pillow's own resize."""
    size, bicubic = spec.size, Image.Resampling.BICUBIC
    if spec.mode == "squash":
        return picture.resize((size, size), bicubic)
    wide, high = (int(size * side / min(picture.size)) for side in picture.size)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    return picture.resize((wide, high), bicubic).crop((left, top, left + size, top + size))


def by_torch(pixels: torch.Tensor, size: int) -> None:
    """An antialiased bicubic resize of uint8 [1, 3, H, W]."""
    torch.nn.functional.interpolate(pixels, (size, size), mode="bicubic", antialias=True)


def measure(files: Sequence[bytes], turns: int) -> dict[str, float]:
    """CPU milliseconds a picture of every step."""
    count, settings = len(files), DecodeSettings()
    found: dict[str, float] = {}

    def note(name: str, work: Callable[[], object]) -> None:
        found[name] = timed(work, count, turns)
        print(f"{name:34} {found[name]:6.2f}", flush=True)

    pictures = [load_image(read_header(data, settings), data, settings, 3 * 384).image for data in files]
    tensors = [torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] for picture in pictures]
    note("part: decode, Pillow", lambda: [Image.open(io.BytesIO(data)).load() for data in files])
    note("part: header and guards", lambda: [read_header(data, settings) for data in files])
    note("part: resize to 384", lambda: [square(picture, ONE[0]) for picture in pictures])
    note("part: crop to 224", lambda: [square(picture, TWO[1]) for picture in pictures])
    note("part: resize to 384, Pillow", lambda: [pillow_square(picture, ONE[0]) for picture in pictures])
    note("part: crop to 224, Pillow", lambda: [pillow_square(picture, TWO[1]) for picture in pictures])
    note("part: resize to 384, torch", lambda: [by_torch(pixels, 384) for pixels in tensors])
    note("part: resize to 224, torch", lambda: [by_torch(pixels, 224) for pixels in tensors])
    note("part: perceptual hash", lambda: [phash(picture) for picture in pictures])
    for name, specs in (("384", ONE), ("384 and 224", TWO)):
        note(f"Pillow, nothing checked: {name}", lambda specs=specs: [by_pillow(data, specs) for data in files])
        note(f"stage, own process: {name}", lambda specs=specs: _decode_here(files, specs, settings, 1))
        found[f"stage, isolated: {name}"] = isolated_time(files, specs, turns)
        print(f"{'stage, isolated: ' + name:34} {found[f'stage, isolated: {name}']:6.2f}", flush=True)
    return found


def machine() -> str:
    """This machine in general words."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {gigabytes:.0f} GB memory, {platform.system()}, Python {platform.python_version()}"


def lines(result: dict[str, Any]) -> list[str]:
    """The table of README.md."""
    table = ["| step | CPU ms a picture | at most |", "|---|---|---|"]
    table += [f"| {name} | {ms:.2f} | {GATES.get(name, '')} |" for name, ms in result["ms"].items()]
    about = f"{result['date']}, {result['machine']}, capfilt {result['capfilt']}, Pillow {Image.__version__}"
    return [f"{about}: {result['files']} JPEGs of {result['bytes'] / 1000:.0f} kB on average.", "", *table]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a folder of .jpg files")
    parser.add_argument("--rounds", type=int, default=5, help="the best of so many counts")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json is written")
    asked = parser.parse_args()
    files = [path.read_bytes() for path in sorted(asked.folder.rglob("*.jpg"))] if asked.folder else photos(48)
    torch.set_num_threads(1)
    result: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    result |= {"capfilt": __version__, "files": len(files), "bytes": sum(map(len, files)) / len(files)}
    result["ms"] = measure(files, asked.rounds)
    (asked.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    if asked.out != HERE:
        return
    about = (HERE / "README.md").read_text().partition(MARK)[0]
    (HERE / "README.md").write_text(about + MARK + "\n" + "\n".join(lines(result)) + "\n")
    if missed := [name for name, most in GATES.items() if result["ms"][name] > most]:
        raise SystemExit(f"slower than its gate: {', '.join(missed)}")


if __name__ == "__main__":
    main()
