"""What of a run is looked at: a filter, as the page's address says it, and the SQL that finds it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from capfilt.core.duckdb_sandbox import quoted


class TextFilter(BaseModel):
    """Images are shown that have at least one text which passes all of this."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    judge: str = Field("", max_length=100, description="the score column that t, low, high and sort are about")
    t: float | None = Field(None, description="the threshold that decides; without one, the selection decides")
    state: Literal["", "kept", "dropped"] = ""
    source: Literal["", "web", "human", "synthetic"] = ""
    reason: str = Field("", max_length=1000, description="why the selection kept or dropped the text")
    low: float | None = None
    high: float | None = None
    q: str = Field("", max_length=200, description="part of the text; upper and lower case are the same")
    mark: Literal["", "any", "right", "wrong"] = ""
    sort: Literal["run", "high", "low", "near"] = "run"


Where = tuple[str, dict[str, Any]]
"""A condition, and the values of its parameters."""

_MARKS = {"any": '"right" IS NOT NULL', "right": '"right"', "wrong": 'NOT "right"'}


def where(wanted: TextFilter) -> Where:
    """The condition on a row of `shown` (texts with decisions and marks)."""
    keep, values = kept(wanted)
    score = _score(wanted.judge)
    tests = {
        keep: wanted.state == "kept",
        f"NOT {keep}": wanted.state == "dropped",
        "source = $source": wanted.source,
        "reason = $reason": wanted.reason,
        f"{score} >= $low": wanted.low is not None,
        f"{score} <= $high": wanted.high is not None,
        "contains(lower(text), lower($q))": wanted.q,
        _MARKS.get(wanted.mark, ""): wanted.mark,
    }
    used = [test for test, applies in tests.items() if applies]
    given = values if wanted.state else {}
    names = [name for name in ("source", "reason", "low", "high", "q") if f"${name}" in " ".join(used)]
    return " AND ".join(used) or "true", {**given, **{name: getattr(wanted, name) for name in names}}


def kept(wanted: TextFilter) -> Where:
    """Whether a row of `shown` is kept: by the threshold just as policy `blip` keeps it, or by the selection."""
    if wanted.t is None:
        return "coalesce(keep, false)", {}
    return f"coalesce(decidable AND {_score(wanted.judge)} >= $t, false)", {"t": wanted.t}


def order(wanted: TextFilter) -> Where:
    """How images are sorted, from the rows of `shown` that passed; equal ones, and those without a score, by place."""
    score = _score(wanted.judge)
    if wanted.sort == "near" and wanted.t is not None:
        return f"min(abs({score}::DOUBLE - $near)) NULLS LAST, place", {"near": wanted.t}
    if wanted.sort in ("high", "low"):
        return (
            f"max({score}) DESC NULLS LAST, place" if wanted.sort == "high" else f"min({score}) NULLS LAST, place",
            {},
        )
    return "place", {}


def _score(judge: str) -> str:
    """A judge's column in SQL; a filter without a judge tests no score, and sees null."""
    return quoted(judge) if judge else "NULL::FLOAT"
