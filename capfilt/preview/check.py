"""`capfilt check`: a look at the inputs of a run, and an estimate of the whole from a sample."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, cast

from capfilt.commands.progress import Listener, RunProgress
from capfilt.core.chunks import Part
from capfilt.core.config import Recipe
from capfilt.core.errors import ConfigError
from capfilt.core.schema import Reason
from capfilt.preview.estimate import RunEstimate, estimate
from capfilt.preview.rows import ShownRow, look_at_rows
from capfilt.preview.sample import SampleReport, take_sample
from capfilt.preview.survey import Survey, spread, survey
from capfilt.preview.workers import workers_of

SHOWN: Final = 10
"""Rows that are shown."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a look came to."""

    survey: Survey
    shown: tuple[ShownRow, ...]
    chunks: int  # of a run, about
    problem: str  # why nothing of the inputs can be used, and what to look at; "" where something can
    sample: SampleReport | None = None
    estimate: RunEstimate | None = None
    is_priced: bool = False  # whether a price was given


def check(
    inputs: Sequence[str],
    recipe: Recipe,
    *,
    limit: int | None = None,
    sample: int | None = None,
    price: float | None = None,
    thumbnails: bool = False,
    listener: Listener = lambda _: None,
) -> CheckReport:
    """Look at the inputs of a run; writes nothing.

    Args:
        limit: rows of the input at most, as of a run.
        sample: rows to take through all stages; None = none, and then no model is loaded.
        price: of an hour of one GPU.
        thumbnails: download and draw the images of the rows that are shown.

    Raises:
        UserError: an input that a run would refuse, or a mistake in recipe or models.
        RunFailed: a chunk of the sample failed.
    """
    if price is not None and not sample:
        raise ConfigError("--price-per-gpu-hour: only a sample tells the GPU-hours; give --sample")
    listener(RunProgress("plan"))
    seed = recipe.caption.seed
    found = survey(inputs, recipe.input, max(SHOWN, sample or 0), limit=limit, seed=seed)
    shown = look_at_rows(_to_show(found), recipe, thumbnails)
    chunks, problem = _chunks(found, recipe), _no_image(shown) or _no_text(shown, recipe)
    if not sample:
        return CheckReport(found, shown, chunks, problem)
    taken = take_sample(spread(found.picked, sample), recipe, seed=seed, listener=listener)
    whole = estimate(found.rows, taken.timing, workers_of(recipe, chunks), taken.storage, price)
    return CheckReport(found, shown, chunks, taken.empty, taken, whole, price is not None)


def _to_show(found: Survey) -> tuple[Part, ...]:
    """Rows of each reader, so that none is overlooked, and others from all over the inputs."""
    places = {(part.identity, part.start) for part in found.first}
    others = [part for part in found.picked if (part.identity, part.start) not in places]
    parts = (*found.first, *spread(others, max(SHOWN - len(found.first), 0)))
    return tuple(sorted(spread(parts, SHOWN), key=lambda part: (part.identity, part.start)))


def _chunks(found: Survey, recipe: Recipe) -> int:
    """As many as the rows make, or their images."""
    size = sum(cast(int, part.where.get("bytes", 0)) for part in found.picked)
    picked = sum(part.rows for part in found.picked)
    by_bytes = size * found.rows / max(picked, 1) / recipe.input.chunk_bytes
    return ceil(max(found.rows / recipe.input.chunk_rows, by_bytes))


def _no_image(shown: Sequence[ShownRow]) -> str:
    reasons = Counter(row.reason for row in shown)
    if not shown or reasons[""]:
        return ""
    reason, count = reasons.most_common(1)[0]
    detail = next(row.detail for row in shown if row.reason == reason) or Reason(reason).meaning
    said = f"{count} of {len(shown)} rows failed as {reason} ({detail})"
    return f"no image can be used: {said}: look at {Reason(reason).look_at}"


def _no_text(shown: Sequence[ShownRow], recipe: Recipe) -> str:
    if recipe.caption.n or recipe.input.text == "none" or any(row.texts for row in shown):
        return ""
    return f"no text in the {len(shown)} rows looked at, and none is written: look at input.text and caption.n"
