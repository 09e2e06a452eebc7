"""A check in tables: the same words on the terminal, on the page and in a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from capfilt.core.formatting import megabytes, memory, percent, seconds
from capfilt.preview.check import CheckReport
from capfilt.preview.estimate import RunEstimate
from capfilt.preview.rows import ShownRow
from capfilt.preview.sample import SampleReport
from capfilt.preview.survey import Survey

Cell = str | int
TEXT: Final = 100
"""Characters of a text or a detail that are shown."""


@dataclass(frozen=True, slots=True)
class FactTable:
    """A table of a check."""

    title: str  # empty where its first header says enough
    headers: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]


def survey_tables(found: Survey) -> list[FactTable]:
    """Files by kind, and what was chosen in them."""
    kinds = [
        (kind.reader, kind.files, megabytes(kind.bytes), f"{'' if kind.counted == kind.files else 'about '}{kind.rows}")
        for kind in found.kinds
    ]
    chosen = [
        FactTable(
            f"{alike.reader}: {_first(alike.files)}",
            ("", "chosen", "why"),
            [(choice.what, choice.value, choice.why) for choice in alike.choices],
        )
        for alike in found.alike
        if alike.choices
    ]
    return [FactTable("", ("kind", "files", "size", "rows"), kinds), *chosen]


def survey_lines(found: Survey, chunks: int) -> list[str]:
    """What is left out or damaged, and how much there is in all."""
    about = "" if found.is_exact else "about "
    return [
        *(f"skipped: {note}" for note in found.left_out),
        *(f"damaged: {line}" for line in found.damaged),
        f"in all:  {about}{found.rows} rows, {chunks} {'chunk' if chunks == 1 else 'chunks'}",
    ]


def sample_tables(sample: SampleReport) -> list[FactTable]:
    """What failed, what is kept, and how long each stage took."""
    failed = sum(one.rows for one in sample.failures)
    counts = [("rows in", sample.rows, ""), ("images", sample.images, ""), ("failures", failed, "")]
    reasons = [(f"  {one.reason}", one.rows, shortened(one.detail, TEXT)) for one in sample.failures]
    kept, dropped = sample.selection.kept, sample.selection.dropped
    texts = [
        (source, good := kept.get(source, 0), bad := dropped.get(source, 0), percent(good / max(good + bad, 1)))
        for source in sorted(kept.keys() | dropped.keys(), key=("web", "human", "synthetic").index)
    ]
    times = sample.timing
    stages = [(stage, f"{spent:.2f}", f"{1000 * times.per_row(stage):.1f}") for stage, spent in times.seconds.items()]
    return [
        FactTable("", ("sample", "rows", "detail"), [*counts, *reasons]),
        FactTable("", ("texts", "kept", "dropped", "share"), texts),
        FactTable("", (f"{times.rows} rows", "seconds", "ms per row"), stages),
    ]


def estimate_table(whole: RunEstimate) -> FactTable:
    """What the whole should take."""
    rows = [
        ("time", f"{seconds(whole.hours * 3600)} ({hours(whole.hours)} h)"),
        ("  of it once", f"{seconds(whole.once)}, to start and to load models"),
        ("  limited by", whole.slowest),
        (f"{whole.processor}-hours", hours(whole.processor_hours)),
        *([("money", f"{whole.price:,.2f}")] if whole.price is not None else []),
        ("storage", megabytes(sum(whole.storage.values()))),
        *((f"  {folder}/", megabytes(size)) for folder, size in whole.storage.items()),
    ]
    return FactTable("", (f"all {whole.rows} rows", "about"), rows)


def estimate_lines(found: CheckReport) -> list[str]:
    """What the estimate rests on."""
    if found.sample is None or found.estimate is None:
        return []
    timing = found.sample.timing
    lines = [f"estimated from {timing.rows} of the {found.sample.rows} rows; those before them warm up"]
    is_slow_web = timing.seconds.get("fetch", 0) > 0.2 * sum(timing.seconds.values())
    if is_slow_web and timing.rows * found.chunks < found.survey.rows:
        lines.append("the sample is smaller than a chunk, so the time of fetching is rough")
    if most := memory(found.sample.memory):
        lines.append(f"peak memory of the sample: {most}")
    if found.estimate.price is None and found.is_priced:
        lines.append("no money: no GPU is used")
    return lines


def image_words(row: ShownRow, longest: int) -> str:
    """The size of an image, why there is none, or where it is to be had."""
    if row.reason:
        return f"{row.reason}: {shortened(row.detail, TEXT)}"
    return f"{row.size[0]} x {row.size[1]}" if row.size else shortened(row.url, longest)


def hours(value: float) -> str:
    """Hours with three digits that tell: 0.0123, 4.56, 789."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def shortened(text: str, longest: int) -> str:
    """The first characters of a text."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _first(files: Sequence[str]) -> str:
    return files[0] + (f" and {len(files) - 1} like it" if len(files) > 1 else "")
