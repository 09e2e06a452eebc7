"""A look before a run from Python: `capfilt.check`."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from capfilt.api.progress import listener
from capfilt.api.settings import recipe_with
from capfilt.commands.progress import Listener
from capfilt.preview.check import CheckReport
from capfilt.preview.check import check as check_inputs
from capfilt.preview.page import fragment, page

Place = str | PathLike[str]


def check(
    inputs: Place | Sequence[Place],
    *,
    recipe: Place = "blip",
    set: Mapping[str, Any] | None = None,
    limit: int | None = None,
    sample: int | None = None,
    price_per_gpu_hour: float | None = None,
    thumbnails: bool = False,
    progress: bool | Listener | None = None,
) -> "Check":
    """Look at inputs before a run: files, columns, rows, and what is left out and why. Writes nothing.

    Args:
        inputs: as of `capfilt.run`.
        recipe: the name of a recipe, or a TOML file.
        set: settings that change it.
        limit: rows of the input at most, as of `capfilt.run`.
        sample: rows to take through all stages, to estimate time and storage of the whole run; None = none.
        price_per_gpu_hour: with `sample`, also estimate money.
        thumbnails: download and draw the images of the rows that are shown.
        progress: as of `capfilt.run`.

    Returns:
        What was found; a notebook shows it.

    Raises:
        UserError: an input that a run would refuse, or a mistake in recipe or models.
        RunFailed: a chunk of the sample failed.
    """
    given = [inputs] if isinstance(inputs, str | PathLike) else inputs
    chosen = recipe_with(recipe, set or {})
    with listener(progress) as listen:
        found = check_inputs(
            [fspath(one) for one in given],
            chosen,
            limit=limit,
            sample=sample,
            price=price_per_gpu_hour,
            thumbnails=thumbnails,
            listener=listen,
        )
    return Check(found)


class Check:
    """What `capfilt.check` found."""

    def __init__(self, report: CheckReport) -> None:
        self.report = report
        """`survey` (files, choices, rows), `shown` (rows), `sample` and `estimate`, as data."""

    @property
    def problem(self) -> str:
        """Why nothing of the inputs can be used, and what to look at; "" where something can."""
        return self.report.problem

    def write_page(self, to: Place) -> None:
        """Write the page of `capfilt check --html`."""
        Path(to).write_text(page(self.report), encoding="utf-8")

    def __repr__(self) -> str:
        survey = self.report.survey
        return f"<capfilt check: {'' if survey.is_exact else 'about '}{survey.rows} rows>"

    def _repr_html_(self) -> str:
        return fragment(self.report)
