"""Scores under the names that policies know them by.

A policy is fixed SQL, and SQL takes no column's name as a parameter. So `captions`, as a policy sees it, has a column
`judge` that holds the scores of the column which select.judge names, and so on for every setting of `NAMED`. Names come
into SQL quoted and only if they are columns of the run, so nothing but a column can be meant.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import ARROW, SPECIAL
from duckdb.sqltypes import FLOAT, VARCHAR

from capfilt.core import schema
from capfilt.core.config import SelectSettings
from capfilt.core.duckdb_sandbox import quoted
from capfilt.core.errors import ConfigError
from capfilt.core.storage import Folder
from capfilt.models.score_columns import kind_of

NAMED: Final = ("judge", "first", "second", "judges")
"""Settings that name scores. Of `judges`, which names several, the column is a list in their order."""

KNOTS: Final = "calibration/isotonic.json"
"""What `capfilt calibrate` leaves: column -> source, or "all" -> {"x": scores, "y": probabilities}."""

MIX: Final = "mix"
"""The score that mixes all judges': a column of `captions` as a policy sees it, where `capfilt calibrate` fitted it."""

MIX_FILE: Final = "calibration/mix.json"
"""`Mix`, as `capfilt calibrate` leaves it."""

Knots = dict[str, dict[str, dict[str, list[float]]]]


@dataclass(frozen=True, slots=True)
class Mix:
    """A logistic regression over scores: 1 / (1 + exp(-(bias + the sum of weight * score)))."""

    weights: dict[str, float]  # by judge's column
    bias: float
    effects: dict[str, float]  # the same weights, a standard deviation of the score

    @property
    def sql(self) -> str:
        """The mix of a row of captions/; null where one of the scores is missing or no finite number."""
        terms = [
            f"{weight!r}::DOUBLE * CASE WHEN isfinite({quoted(name)}) THEN {quoted(name)}::DOUBLE END"
            for name, weight in self.weights.items()
        ]
        return f"1 / (1 + exp(-({self.bias!r}::DOUBLE + {' + '.join(terms)})))"


def judge_columns(captions: pa.Schema) -> list[str]:
    """The columns of captions/ that judges wrote."""
    fixed = schema.captions_schema(()).names
    return [name for name in captions.names if name not in fixed]


def is_probability(judge: str) -> bool:
    """Whether a judge's column holds probabilities of a text being right, 0 to 1."""
    return kind_of(judge) == "probability"


def missing_scores(judges: Sequence[str], settings: SelectSettings) -> dict[str, str]:
    """The settings of `NAMED` that name a score which is not among those of `judges`, and which."""
    lost = {setting: [name for name in _names(settings, setting) if name not in judges] for setting in NAMED}
    return {setting: names[0] for setting, names in lost.items() if names}


def named_scores(judges: Sequence[str], settings: SelectSettings) -> list[str]:
    """SQL of the columns for those settings of `NAMED` whose scores are there; a NaN counts as no score."""
    absent = missing_scores(judges, settings)
    return [f"{_column(settings, setting)} AS {setting}" for setting in NAMED if setting not in absent]


def _names(settings: SelectSettings, setting: str) -> tuple[str, ...]:
    value = getattr(settings, setting)
    return (value,) if isinstance(value, str) else value


def _column(settings: SelectSettings, setting: str) -> str:
    scores = [_score(name, settings.calibrated) for name in _names(settings, setting)]
    return scores[0] if isinstance(getattr(settings, setting), str) else f"[{', '.join(scores)}]"


def _score(name: str, calibrated: bool) -> str:
    # To DuckDB NaN is larger than any number, so a broken score would pass every threshold.
    score = f"CASE WHEN NOT isnan({quoted(name)}) THEN {quoted(name)} END"
    return f"{quoted(_function(name))}({score}, source)" if calibrated else score


def _function(name: str) -> str:
    return f"probability of {name}"


def read_knots(folder: Folder) -> Knots:
    """The probabilities that `capfilt calibrate` found.

    Raises:
        ConfigError: it was not called.
    """
    knots: Knots = json.loads(_knots(folder))
    return knots


def knots_digest(folder: Folder) -> str:
    """sha256 of the file that `read_knots` reads; raises as it does."""
    return hashlib.sha256(_knots(folder)).hexdigest()


def _knots(folder: Folder) -> bytes:
    if not folder.exists(KNOTS):
        raise ConfigError(f"select.calibrated: {folder.location}/{KNOTS} is missing; run `capfilt calibrate` first")
    return folder.read(KNOTS)


def read_mix(folder: Folder, judges: Sequence[str]) -> Mix | None:
    """What `capfilt calibrate` fitted; None if nothing was, if a judge is named so, or one of its judges is gone."""
    if MIX in judges or not folder.exists(MIX_FILE):
        return None
    mix = Mix(**json.loads(folder.read(MIX_FILE)))
    return mix if mix.weights.keys() <= {*judges} else None


def mix_digest(folder: Folder, policy: str, settings: SelectSettings) -> str:
    """sha256 of the file that `read_mix` reads; "" where neither the policy's SQL nor a setting names the mix."""
    named = {name for setting in NAMED for name in _names(settings, setting)}
    is_read = MIX in named or re.search(rf"\b{MIX}\b", policy)
    return hashlib.sha256(folder.read(MIX_FILE)).hexdigest() if is_read and folder.exists(MIX_FILE) else ""


def define_probabilities(connection: duckdb.DuckDBPyConnection, settings: SelectSettings, knots: Knots) -> None:
    """Give the connection the functions that `named_scores` calls where select.calibrated is set."""
    if not settings.calibrated:
        return
    for name in {name for setting in NAMED for name in _names(settings, setting)} & knots.keys():
        # SPECIAL: a score that is missing, or of a source without knots, gives null, which DuckDB else takes for an
        # error.
        function = _probability(knots[name])
        connection.create_function(
            _function(name), function, [FLOAT, VARCHAR], FLOAT, type=ARROW, null_handling=SPECIAL
        )


def _probability(by_source: dict[str, dict[str, list[float]]]) -> Callable[[Any, Any], pa.Array]:
    """Linear between knots, constant beyond them; of the text's source, or of all where it has none of its own."""

    def probability(scores: Any, sources: Any) -> pa.Array:
        found = np.full(len(scores), np.nan, np.float32)
        values, names = scores.to_numpy(zero_copy_only=False), sources.to_numpy(zero_copy_only=False)
        for source in set(names):
            knots = by_source.get(source) or by_source.get("all")
            if knots:
                here = names == source
                found[here] = np.interp(values[here], knots["x"], knots["y"])
        return pa.array(found, mask=np.isnan(found))

    return probability
