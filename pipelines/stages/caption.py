"""caption: every image gets its candidates, which are its web and human texts and the captions generated now."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from capfilt.core.config import CaptionSettings as Settings
from capfilt.core.schema import TEXT, candidate_type
from capfilt.pipelines.imaging.geometry.boxes import has_area
from capfilt.pipelines.stages.caption_checks import check_caption, same_text_key, tidy, without_thoughts
from capfilt.pipelines.stages.micro_batches import MicroBatches
from capfilt.pipelines.stages.row_failures import mark_poison

if TYPE_CHECKING:
    import torch

    from capfilt.models.pixels import PixelSpec
    from capfilt.models.protocols import Caption, Captioner, ImageInput

CANDIDATES = "candidates"
EARLIER = "earlier"
"""The column with the committed candidates of an image that is captioned once more, and"""
FIRST = "first"
"""the column with the number of its first new one."""


def caption(
    rows: pa.Table, captioners: "Sequence[Captioner]", settings: Settings, batches: Sequence[MicroBatches] = ()
) -> pa.Table:
    """Add the column `candidates`: a list of `schema.candidate_type(())` a row, empty in failed rows.

    The given texts are candidates 0..k-1; synthetic ones, captioner by captioner, start at max(k, 1), so that
    candidate 0 is never synthetic and keeps its number when an image without text gets captions.

    Args:
        rows: `schema.ROWS` with the captioners' `pixels:` columns; as they are, if they have candidates. With `EARLIER`
            and `FIRST`, the candidates are the new captions alone.
        captioners: without any, the given texts are the only candidates.
        batches: micro-batches of images, one a captioner; a poison row becomes a failure.
    """
    if CANDIDATES in rows.column_names:  # committed ones, that further judges look at
        return rows
    texts = rows["texts"].to_pylist()
    written: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for captioner, own in zip(captioners, batches or [MicroBatches(32) for _ in captioners], strict=True):
        captions, poison = _write(rows, captioner, settings, own)
        rows = mark_poison(rows, "caption", poison)
        for row, some in captions.items():
            written[row] += some
    column: list[list[dict[str, Any]]] = [[] for _ in texts]
    again = EARLIER in rows.column_names
    earlier, firsts = (rows[name].to_pylist() for name in (EARLIER, FIRST)) if again else ([], [])
    for row in alive(rows):
        before = earlier[row] if again else _given(texts[row], settings.round)
        first = firsts[row] if again else max(len(before), 1)
        made = [c | {"candidate": first + k} for k, c in enumerate(written[row])]
        _mark_duplicates([*before, *made])
        column[row] = made if again else [*before, *made]
    return rows.append_column(CANDIDATES, pa.array(column, pa.list_(candidate_type(()))))


def _write(
    rows: pa.Table, captioner: "Captioner", settings: Settings, batches: MicroBatches
) -> tuple[dict[int, list[dict[str, Any]]], dict[int, str]]:
    """Synthetic captions and poison, by row position."""
    author = f"{captioner.name}@{captioner.digest}"
    uids = rows["uid"].to_pylist()

    def work(part: Sequence[int]) -> list[list[dict[str, Any]]]:
        # A seed per caption, not per batch: with one seed for a batch, generate of transformers gives an image another
        # caption as soon as a second image stands beside it, so a resumed run would differ.
        seeds = [[seed_of(uids[row], author, settings, k) for k in range(settings.n)] for row in part]
        images = image_input(rows, captioner.pixels, part)
        captions = captioner.caption(images, seeds, settings.prompt, decoding(settings))
        fixed = {"source": "synthetic", "captioner": author, "round": settings.round}
        return [
            [{**fixed, "seed": seed, **_tidied(c, settings.prompt)} for seed, c in zip(own_seeds, own, strict=True)]
            for own_seeds, own in zip(seeds, captions, strict=True)
        ]

    return batches.run(alive(rows), work)


def _tidied(caption: "Caption", prompt: str) -> dict[str, Any]:
    # Two halves of an emoji become one, and a half alone U+FFFD: no table could hold it, and its chunk would fail.
    whole = caption.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    said, thought = without_thoughts(whole)
    text = tidy(said, prompt)
    found = [*check_caption(text), *caption.flags, *(["thought"] if thought else [])]
    return {"text": text, "logprob": caption.logprob, "flags": list(dict.fromkeys(found))}


def alive(rows: pa.Table) -> list[int]:
    """Positions of the rows that have not failed."""
    return [row for row, reason in enumerate(rows["reason"].to_pylist()) if reason is None]


def image_input(rows: pa.Table, pixels: "PixelSpec", positions: Sequence[int]) -> "ImageInput":
    """What decode made for this spec: `pixel_tensor`, or of `fit` one uint8 tensor [height, width, 3] an image."""
    if pixels.mode != "fit":
        return pixel_tensor(rows, pixels, positions)
    import torch

    part = rows.select([f"pixels:{pixels.name}", "width", "height"]).take(pa.array(positions))
    found = []
    for data, width, height in zip(*(column.to_pylist() for column in part.columns), strict=True):
        wide, high = pixels.shape(width, height)
        # bytearray: torch warns of memory that cannot be written to.
        found.append(torch.from_numpy(np.frombuffer(bytearray(data), np.uint8).reshape(high, wide, 3)))
    return found


def pixel_tensor(rows: pa.Table, pixels: "PixelSpec", positions: Sequence[int]) -> "torch.Tensor":
    """uint8 [len(positions), S, S, 3] out of the column that decode made for this spec."""
    import torch

    column = rows[f"pixels:{pixels.name}"]
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # a copy of some 100 MB
    # A view, from which only the rows of a micro-batch are copied: copying the column each time took 4 ms for an image
    # of 384 pixels, this 0.2 ms. A column of fixed size has bytes for failed rows too, so a row is found by its number.
    everything = np.frombuffer(whole.buffers()[1], np.uint8).reshape(-1, pixels.size, pixels.size, 3)
    return torch.from_numpy(everything[np.asarray(positions, np.intp) + whole.offset])


def seed_of(uid: str, author: str, settings: Settings, k: int) -> int:
    """The key of a caption's own random stream: a hash of (uid, round, captioner and weights, number, run seed)."""
    message = f"{uid}|{settings.round}|{author}|{k}|{settings.seed}".encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little")


def decoding(settings: Settings) -> Any:
    """The recipe's settings of decoding, as the models take them."""
    from capfilt.models.protocols import Decoding

    return Decoding(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(Decoding)})


def _given(texts: list[dict[str, Any]], round_: int) -> list[dict[str, Any]]:
    """The given texts as candidates; fields left out are null."""
    return [
        {"candidate": k, **{field.name: text[field.name] for field in TEXT}, "round": round_, "flags": _flags(text)}
        for k, text in enumerate(texts)
    ]


def _flags(text: dict[str, Any]) -> list[str]:
    empty = [] if text["text"].strip() else ["empty"]
    return empty if text["box"] is None or has_area(text["box"]) else [*empty, "empty_box"]


def _mark_duplicates(candidates: list[dict[str, Any]]) -> None:
    """Flag a synthetic text that says what an earlier candidate of the whole image says (`same_text_key`)."""
    said: set[str] = set()
    for candidate in candidates:
        words = same_text_key(candidate["text"])
        if candidate["source"] == "synthetic" and words in said:
            candidate["flags"].append("duplicate")
        if candidate.get("box") is None:
            said.add(words)
