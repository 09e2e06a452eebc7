"""The images of a calibration: five for every judge, one curve a source."""

import re
from collections.abc import Callable, Sequence

from markupsafe import Markup

from capfilt.charts.axes import Axis
from capfilt.charts.lines import Kind, Series, lines
from capfilt.pipelines.calibration.calibrate import ALL, Calibration
from capfilt.pipelines.calibration.measure import JudgeMeasurement
from capfilt.pipelines.calibration.probability import Reliability

_KINDS: tuple[Kind, ...] = ("first", "second", "third", "fourth")


def calibration_charts(result: Calibration) -> dict[str, dict[str, Markup]]:
    """By judge's column: charts named `roc`, `precision`, `keep`, `calibrated`; of probabilities also `reliability`."""
    charts = {}
    for column in dict.fromkeys(one.column for one in result.measured):
        of_judge = [one for one in result.measured if one.column == column]
        shown = [one for one in of_judge if one.source != ALL] or of_judge
        is_share = all(one.reliability for one in shown)
        charts[column] = {name: draw(column, shown) for name, draw in _DRAW.items() if is_share or draw != _reliability}
    return charts


def file_name(column: str, chart: str) -> str:
    """A name for an image's file, whatever a judge calls its column."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', column)}-{chart}.svg"


def _roc(column: str, shown: Sequence[JudgeMeasurement]) -> Markup:
    series = [
        Series(f"{one.source}, AUC {one.auc.value:.3f}", (0.0, *one.curve.fallout), (0.0, *one.curve.recall), kind)
        for one, kind in zip(shown, _KINDS, strict=False)
    ]
    x, y = Axis("wrong texts kept", 0, 1), Axis("right texts kept", 0, 1)
    return lines(x, y, series, label=f"ROC curve of {column}", diagonal=True)


def _precision(column: str, shown: Sequence[JudgeMeasurement]) -> Markup:
    series = [
        Series(f"{one.source}, AP {one.average_precision.value:.3f}", one.curve.recall, one.curve.precision, kind)
        for one, kind in zip(shown, _KINDS, strict=False)
    ]
    x, y = Axis("right texts kept (recall)", 0, 1), Axis("right among the kept (precision)", 0, 1)
    return lines(x, y, series, label=f"precision and recall of {column}")


def _keep(column: str, shown: Sequence[JudgeMeasurement]) -> Markup:
    series = [
        Series(one.source, one.curve.threshold, one.curve.keep, kind) for one, kind in zip(shown, _KINDS, strict=False)
    ]
    places = [threshold for one in shown for threshold in one.curve.threshold]
    mark = next((one.current.threshold for one in shown if one.current), None)
    x, y = Axis(f"threshold on {column}", min(places), max(places)), Axis("texts kept", 0, 1)
    return lines(x, y, series, label=f"share of texts kept against the threshold on {column}", mark=mark)


def _reliability(column: str, shown: Sequence[JudgeMeasurement]) -> Markup:
    parts = [(one.source, one.reliability) for one in shown if one.reliability]
    return _discs(Axis(column, 0, 1), parts, f"reliability of {column}")


def _calibrated(column: str, shown: Sequence[JudgeMeasurement]) -> Markup:
    parts = [(one.source, one.reliability_fitted) for one in shown]
    return _discs(Axis(f"{column}, calibrated", 0, 1), parts, f"reliability of {column}, calibrated")


def _discs(x: Axis, parts: Sequence[tuple[str, Reliability]], label: str) -> Markup:
    series = [
        Series(f"{source}, ECE {bins.error:.3f}", bins.predicted, bins.observed, kind, bins.weight)
        for (source, bins), kind in zip(parts, _KINDS, strict=False)
    ]
    return lines(x, Axis("share that is right", 0, 1), series, label=label, diagonal=True)


_DRAW: dict[str, Callable[[str, Sequence[JudgeMeasurement]], Markup]] = {
    "roc": _roc,
    "precision": _precision,
    "reliability": _reliability,
    "calibrated": _calibrated,
    "keep": _keep,
}
