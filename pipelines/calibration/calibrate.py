"""calibrate: gather pairs, measure every judge on every kind of texts, and keep what came of it in calibration/.

pairs.parquet      every pair with its scores (`gather.PAIR`)
mix.json           the mix of all judges (`mix.fit_mix`), for policies; away where there is none
isotonic.json      column -> source -> knots {"x": scores, "y": probabilities}, for policies
calibration.json   `Calibration`; written last
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter

from capfilt.core.errors import InputError
from capfilt.core.serialization import canonical_json, parquet_bytes
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.layers_of_run import fingerprints, layer_states
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.gather import PAIR, ScoredPairs, labeled_pairs, make_pairs
from capfilt.pipelines.calibration.labels import Label, read_labels, to_labels
from capfilt.pipelines.calibration.marks import read_labels as read_marks
from capfilt.pipelines.calibration.measure import JudgeMeasurement, PairSample, measure
from capfilt.pipelines.calibration.mix import fit_mix
from capfilt.pipelines.selection.scores import MIX, MIX_FILE, Mix, is_probability

FOLDER: Final = "calibration"
PAIRS: Final = f"{FOLDER}/pairs.parquet"
ISOTONIC: Final = f"{FOLDER}/isotonic.json"
RESULT: Final = f"{FOLDER}/calibration.json"

SOURCES: Final = ("web", "human", "synthetic", "other")
"""In the order they are told; other = a text that is none of the run's."""

ALL: Final = "all"
"""The source that stands for all of them."""

MARKS: Final = "marks"
"""Given in place of a file of labels: the marks of `capfilt browse`."""

LEAST: Final = 20
"""Positive and negative pairs below which nothing is measured: a curve of fewer says nothing."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of a calibration."""

    made: bool  # of the run's own texts and mismatches; else labeled
    basis: str  # sha256 of what the pairs were made from
    pairs: dict[str, dict[str, int]]  # source -> kind (right, wrong; or own, shuffled, hard) -> pairs
    left_out: dict[str, int]  # pairs that could not be used, by reason
    unmeasured: dict[str, str]  # "judge, source" -> why; "judge" -> how many of its scores were left out
    precision: float  # what the recommended thresholds promise
    measured: tuple[JudgeMeasurement, ...]
    mix: Mix | None = None  # of all judges; it is measured as a judge is, by fits that have not seen the image


_STORED: Final = TypeAdapter(Calibration)


def calibrate(folder: Folder, labels: str, *, precision: float, images: int, seed: int) -> Calibration:
    """Calibrate the judges of a run, and store what came of it. Pairs of the same basis are not scored again.

    Args:
        labels: a file of labeled pairs, or `MARKS`: what was marked in `capfilt browse`; "" makes pairs of the own
            texts of the run.
        precision: what the recommended thresholds promise, in 0..1; see `measure`.
        images: in the sample that pairs are made of.
        seed: of sample and bootstrap.

    Raises:
        InputError: no run, nothing to calibrate, or a file of labels that is none.
        ChangedError, ModelError: the judges are needed, and not those of the run.
    """
    ledger = Ledger(folder)
    rows = _labels(folder, labels) if labels else None
    basis = _basis(ledger, (images, seed) if rows is None else rows)
    old = read_calibration(folder)
    if old and old.basis == basis and folder.exists(PAIRS):
        pairs = ScoredPairs(read_table(folder, PAIRS), old.left_out)
    else:
        pairs = make_pairs(ledger, images, seed) if rows is None else labeled_pairs(ledger, rows)
    mix, table = _mixed(pairs.table)
    measured, unmeasured = _measured(table, rows is None, precision, threshold_in_use(ledger.selection()), seed)
    if not isinstance(mix, Mix):
        unmeasured[MIX] = mix
    result = Calibration(
        made=rows is None,
        basis=basis,
        pairs=_counts(table),
        left_out=pairs.left_out,
        unmeasured=unmeasured,
        precision=precision,
        measured=tuple(measured),
        mix=mix if isinstance(mix, Mix) else None,
    )
    folder.delete(RESULT)  # while it is away, nobody takes a mixture of two calibrations for one
    folder.write(PAIRS, parquet_bytes(pairs.table))
    folder.write(ISOTONIC, _json(_knots(measured)))
    if result.mix:
        folder.write(MIX_FILE, _json(asdict(result.mix)))
    else:
        folder.delete(MIX_FILE)
    folder.write(RESULT, _json(_STORED.dump_python(result, mode="json")))
    return result


def read_calibration(folder: Folder) -> Calibration | None:
    """What `calibrate` stored; None if it was not called."""
    return _STORED.validate_json(folder.read(RESULT)) if folder.exists(RESULT) else None


def threshold_in_use(selection: dict[str, Any]) -> tuple[str, float] | None:
    """The judge's column and the threshold of a selection; None if it was made otherwise.

    Args:
        selection: `Ledger.selection`.
    """
    settings = selection.get("parameters", {})
    if selection.get("policy") != "blip" or settings.get("calibrated"):
        return None
    return settings.get("judge", "itm"), float(settings["threshold"])


def _labels(folder: Folder, labels: str) -> list[Label]:
    if labels != MARKS:
        return read_labels(labels)
    marked = list(to_labels(read_marks(folder), MARKS))
    if not marked:
        raise InputError(f"{folder.location}: no text is marked; mark some with `capfilt browse`")
    return marked


def _basis(ledger: Ledger, asked: Sequence[Any]) -> str:
    known = [[repr(item) for item in asked], ledger.fingerprint(), ledger.run["models"]]
    if layers := fingerprints(layer_states(ledger)):
        known.append(layers)
    return hashlib.sha256(canonical_json(known).encode()).hexdigest()


def _mixed(pairs: pa.Table) -> tuple[Mix | str, pa.Table]:
    """The mix of the judges or why there is none, and the pairs with it as one more judge."""
    found = fit_mix(pairs, _judge_columns(pairs))
    if isinstance(found, str):
        return found, pairs
    mix, unseen = found
    return mix, pairs.append_column(MIX, pa.array(unseen, pa.float32(), mask=np.isnan(unseen)))


def _measured(
    pairs: pa.Table, made: bool, precision: float, in_use: tuple[str, float] | None, seed: int
) -> tuple[list[JudgeMeasurement], dict[str, str]]:
    """What was measured, and what could not be."""
    done: list[JudgeMeasurement] = []
    missing = {column: f"{odd} of {pairs.num_rows} scores are NaN or infinite" for column, odd in _odd(pairs).items()}
    for column, source, sample, kinds in _samples(pairs, made):
        positive = int(sample.positive.sum())
        least = min(positive, len(sample.positive) - positive)
        if least < LEAST:
            missing[f"{column}, {source}"] = f"{least} pairs of one kind, at least {LEAST} are needed"
            continue
        if sample.scores.min() == sample.scores.max():
            missing[f"{column}, {source}"] = f"every score is {sample.scores[0]:g}: it tells nothing apart"
            continue
        current = in_use[1] if in_use and in_use[0] == column else None
        is_share = is_probability(column)
        done.append(
            measure(column, source, sample, kinds, precision=precision, current=current, seed=seed, is_share=is_share)
        )
    return done, missing


def _samples(pairs: pa.Table, made: bool) -> Iterator[tuple[str, str, PairSample, NDArray[np.str_]]]:
    """For every judge's column and every source, and all of them: the pairs that have a score, and their kinds."""
    sources, kinds = (np.array(pairs[name].to_pylist(), dtype=np.str_) for name in ("source", "kind"))
    images = np.unique(np.array(pairs["uid"].to_pylist(), dtype=np.str_), return_inverse=True)[1]
    positive = pairs["positive"].to_numpy()
    names = [name for name in SOURCES if name in set(sources)]
    for column in _judge_columns(pairs):
        scores = pairs[column].to_numpy().astype(np.float64)  # null becomes NaN
        for source in [*names, *([ALL] if len(names) > 1 else [])]:
            rows = np.isfinite(scores) & ((sources == source) | (source == ALL))
            sample = PairSample(scores[rows], positive[rows], images[rows], sources[rows], made)
            yield column, source, sample, kinds[rows]


def _judge_columns(pairs: pa.Table) -> list[str]:
    return [name for name in pairs.column_names if name not in {field.name for field in PAIR}]


def _odd(pairs: pa.Table) -> dict[str, int]:
    """How many scores are there and no finite numbers, by judge column; nothing where there are none."""
    finite = {name: pc.sum(pc.is_finite(pairs[name])).as_py() or 0 for name in _judge_columns(pairs)}
    return {name: odd for name in finite if (odd := pairs.num_rows - pairs[name].null_count - finite[name])}


def _counts(pairs: pa.Table) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for source, kind, positive in zip(
        *(pairs[name].to_pylist() for name in ("source", "kind", "positive")), strict=True
    ):
        counts[source][kind if kind != "labelled" else "right" if positive else "wrong"] += 1
    return {source: dict(sorted(some.items())) for source, some in sorted(counts.items())}


def _knots(measured: Sequence[JudgeMeasurement]) -> dict[str, dict[str, dict[str, tuple[float, ...]]]]:
    found: dict[str, dict[str, dict[str, tuple[float, ...]]]] = defaultdict(dict)
    for one in measured:
        found[one.column][one.source] = asdict(one.knots)
    return found


def _json(value: Any) -> bytes:
    return json.dumps(_rounded(value), indent=1, allow_nan=False).encode() + b"\n"


def _rounded(value: Any) -> Any:
    """Eight decimals: more would be noise, and many of them."""
    if isinstance(value, float):
        return round(value, 8)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
