"""This machine: what it is, what it can do at most, and what a piece of work needs at least."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from capfilt.models.med.config import MEDConfig

CLOCKS: Final[dict[str, Callable[[], float]]] = {"wall": time.perf_counter, "cpu": time.process_time}


def seconds(work: Callable[[], Any], repeat: int = 1) -> float:
    """Time of the fastest of `repeat` turns: by the clock on the wall, or of this process alone (`BENCH_CLOCK=cpu`).

    The latter is for a machine that is busy with other things; with one thread it says what an idle machine would need.
    """
    clock, best = CLOCKS[os.environ.get("BENCH_CLOCK", "wall")], float("inf")
    for _ in range(repeat):
        _wait()
        start = clock()
        work()
        _wait()
        best = min(best, clock() - start)
    return best


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine reaches in the best case: a large matrix product, a large copy."""

    flops: float  # a second
    bytes: float  # a second, read and written

    @classmethod
    def measure(cls, device: str, dtype: torch.dtype) -> "Limits":
        side = 3072 if device == "cpu" else 8192
        a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
        source = torch.empty(2**28, dtype=torch.uint8, device=device).fill_(1)
        target = torch.empty_like(source)
        product = min(seconds(lambda: a @ b, 4), seconds(lambda: a @ b, 4))
        copied = seconds(lambda: target.copy_(source), 6)
        return cls(2 * side**3 / product, 2 * source.numel() / copied)

    def least(self, work: "Work") -> float:
        """Seconds that the work takes at the limit: of arithmetic or of memory, whichever is later."""
        return max(work.flops / self.flops, work.bytes / self.bytes)


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations (a multiplication and an addition are two) and bytes read, at least."""

    flops: float
    bytes: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.bytes + other.bytes)


def tower(med: MEDConfig, images: int, width: int) -> Work:
    """The image tower for so many images; `width` = bytes a number."""
    tokens, d = med.patches + 1, med.vision_width
    layer = 24 * tokens * d * d + 4 * tokens * tokens * d
    weights = med.vision_layers * 12 * d * d
    return Work(images * (med.vision_layers * layer + 6 * med.patches * med.patch_size**2 * d), weights * width)


def look(med: MEDConfig, images: int, width: int) -> Work:
    """Cross-attention keys and values; written once."""
    tokens, weights = med.patches + 1, med.text_layers * 2 * med.vision_width * med.text_width
    return Work(2 * images * tokens * weights, (weights + images * _keys(med)) * width)


def decoding(med: MEDConfig, lengths: Sequence[Sequence[int]], width: int) -> Work:
    """Captions of so many tokens, by image: no row does a step too many.

    Weights are read in each step, an image's keys and values until its longest caption has ended.
    """
    d, tokens, every = med.text_width, med.patches + 1, [length for row in lengths for length in row]
    weights = med.text_layers * (6 * d * d + 2 * d * med.text_ffn) + d * d + d * med.vocab_size
    attention = sum(med.text_layers * (4 * tokens * d + 2 * length * d) * length for length in every)
    read = max(every) * weights + sum(map(max, lengths)) * _keys(med)
    return Work(2 * weights * sum(every) + attention, read * width)


def reading(med: MEDConfig, images: int, tokens: int, texts: int, width: int, cross: bool = True) -> Work:
    """The encoder over so many tokens of so many texts, padding not counted; the last layer is asked for one token."""
    d = med.text_width
    asked = (4 if cross else 2) * d * d + 2 * d * med.text_ffn  # weights that the last layer's one token goes through
    layer = asked + 2 * d * d
    seen = 4 * (med.patches + 1) * d if cross else 0
    before = (med.text_layers - 1) * tokens * (2 * layer + seen)
    last = 2 * tokens * 2 * d * d + texts * (2 * asked + seen)
    weights = med.text_layers * layer
    return Work(before + last, (weights + cross * images * _keys(med)) * width)


def clip_tower(clip: dict[str, Any], images: int, width: int) -> Work:
    """A CLIP's image tower, by its configuration as open_clip writes it."""
    own = clip["vision_cfg"]
    d, patches = own["width"], (own["image_size"] // own["patch_size"]) ** 2
    return _blocks(own["layers"], d, images, patches + 1, width) + Work(
        6 * images * patches * own["patch_size"] ** 2 * d, 0
    )


def clip_texts(clip: dict[str, Any], tokens: int, longest: int, width: int) -> Work:
    """A CLIP's text tower over so many tokens, padding not counted, in texts no longer than `longest`."""
    own = clip["text_cfg"]
    return _blocks(own["layers"], own["width"], tokens / longest, longest, width)


def _blocks(layers: int, d: int, sequences: float, tokens: int, width: int) -> Work:
    each = 24 * tokens * d * d + 4 * tokens * tokens * d
    return Work(sequences * layers * each, layers * 12 * d * d * width)


def _keys(med: MEDConfig) -> int:
    return (med.patches + 1) * med.text_layers * 2 * med.text_width


def machine(device: str) -> str:
    """The machine in words that name no one's."""
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    known = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16"}
    able = ", ".join(name for flag, name in known.items() if flag in flags) or "no vector extension known"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = f"one {torch.cuda.get_device_name()}, " if device.startswith("cuda") else ""
    return f"{gpu}{os.cpu_count()} CPU cores ({able}), {memory:.0f} GiB of memory"


def commit() -> str:
    """The commit that is measured; with a plus where files differ from it."""
    git = partial(subprocess.run, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    changed = git(["git", "status", "--porcelain", "--", "../../../models", "../../../pipelines"]).stdout.strip()
    return git(["git", "rev-parse", "--short", "HEAD"]).stdout.strip() + ("+" if changed else "")


def memory() -> dict[str, int]:
    """Bytes of this process: the peak, and what it holds now, its own and mapped from files (shared with others)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    names = {"peak": "VmHWM", "own": "RssAnon", "mapped": "RssFile"}
    found = {name: int(lines[line].split()[0]) * 1024 for name, line in names.items()}
    if torch.cuda.is_available():
        found["device"] = torch.cuda.max_memory_allocated()
    return found
