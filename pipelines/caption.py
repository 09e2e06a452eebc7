"""The caption stage: every living image gets its candidates, the texts that came along and the captions written now."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from capfilt.config import Caption as Settings
from capfilt.schema import candidate_type

if TYPE_CHECKING:
    import torch

    from capfilt.models.pixels import PixelSpec
    from capfilt.models.protocols import Captioner

CANDIDATES = "candidates"


def caption(rows: pa.Table, captioner: "Captioner | None", settings: Settings, batch: int) -> pa.Table:
    """Add the column `candidates`: a list of `schema.candidate_type(())` a row, empty in dead rows.

    The texts that came along are candidates 0..k-1; synthetic ones start at max(k, 1), so that 0 is never synthetic.

    Args:
        rows: `schema.ROWS` with the captioner's `pixels:` column.
        captioner: None writes nothing; the texts that came along are then the only candidates.
        batch: images a micro-batch.
    """
    texts = rows["texts"].to_pylist()
    living = alive(rows)
    written = _write(rows, living, captioner, settings, batch) if captioner else {}
    column: list[list[dict[str, Any]]] = [[] for _ in texts]
    for row in living:
        first = max(len(texts[row]), 1)
        own = [c | {"candidate": first + k} for k, c in enumerate(written.get(row, []))]
        column[row] = _mark_duplicates([*_given(texts[row], settings.round), *own])
    return rows.append_column(CANDIDATES, pa.array(column, pa.list_(candidate_type(()))))


def _write(
    rows: pa.Table, living: Sequence[int], captioner: "Captioner", settings: Settings, batch: int
) -> dict[int, list[dict[str, Any]]]:
    """Synthetic captions by row position."""
    author = f"{captioner.name}@{captioner.digest}"
    uids = rows["uid"].to_pylist()
    written: dict[int, list[dict[str, Any]]] = {}
    for part in batches(living, batch):
        images = pixel_tensor(rows, captioner.pixels, part)
        seeds = [[seed_of(uids[row], author, settings, k) for k in range(settings.n)] for row in part]
        captions = captioner.caption(images, seeds, settings.prompt, decoding(settings))
        for row, own_seeds, own in zip(part, seeds, captions, strict=True):
            written[row] = [
                {
                    "source": "synthetic",
                    "text": c.text,
                    "captioner": author,
                    "round": settings.round,
                    "seed": seed,
                    "logprob": c.logprob,
                    "flags": flags(c.text),
                }
                for seed, c in zip(own_seeds, own, strict=True)
            ]
    return written


def alive(rows: pa.Table) -> list[int]:
    """Positions of the rows that are images."""
    return [row for row, reason in enumerate(rows["reason"].to_pylist()) if reason is None]


def batches(positions: Sequence[int], size: int) -> list[Sequence[int]]:
    """Positions in micro-batches, in order; they depend on the chunk alone, so a resumed run cuts the same ones."""
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def pixel_tensor(rows: pa.Table, pixels: "PixelSpec", positions: Sequence[int]) -> "torch.Tensor":
    """uint8 [len(positions), S, S, 3] out of the column that decode made for this spec."""
    import torch

    column = rows[f"pixels:{pixels.name}"].combine_chunks().take(pa.array(positions))
    joined = b"".join(column.to_pylist())
    shape = (len(positions), pixels.size, pixels.size, 3)
    return torch.from_numpy(np.frombuffer(bytearray(joined), np.uint8).reshape(shape))


def seed_of(uid: str, author: str, settings: Settings, k: int) -> int:
    """The key of a caption's own random stream: a hash of (uid, round, captioner and weights, number, run seed)."""
    message = f"{uid}|{settings.round}|{author}|{k}|{settings.seed}".encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little")


def decoding(settings: Settings) -> Any:
    """The recipe's sampler settings as the models take them."""
    from capfilt.models.sampling import Decoding

    names = ("top_p", "temperature", "max_tokens", "min_tokens")
    return Decoding(**{name: getattr(settings, name) for name in names})


def flags(text: str) -> list[str]:
    """What is plainly wrong with a caption: `empty`, or `repetition` (a word or pair of words three times in a row)."""
    words = text.split()
    if not words:
        return ["empty"]
    repeated = any(
        words[i : i + width] == words[i + width : i + 2 * width] == words[i + 2 * width : i + 3 * width]
        for width in (1, 2)
        for i in range(len(words) - 3 * width + 1)
    )
    return ["repetition"] if repeated else []


def _given(texts: list[dict[str, str]], round_: int) -> list[dict[str, Any]]:
    """The texts that came along, as candidates; fields left out are null."""
    return [
        {"candidate": k, **text, "round": round_, "flags": [] if text["text"].strip() else ["empty"]}
        for k, text in enumerate(texts)
    ]


def _mark_duplicates(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Flag a synthetic text that an earlier candidate of the image already says."""
    said: set[str] = set()
    for candidate in candidates:
        if candidate["source"] == "synthetic" and candidate["text"] in said:
            candidate["flags"].append("duplicate")
        said.add(candidate["text"])
    return candidates
