"""`capfilt calibrate`: how good the scores are, and which threshold to use."""

from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.terminal.options import Run
from capfilt.core.formatting import percent

if TYPE_CHECKING:
    from capfilt.pipelines.calibration.calibrate import Calibration
    from capfilt.pipelines.calibration.measure import Cut, Estimate, JudgeMeasurement


def calibrate(
    out: Run,
    pairs: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Labeled pairs (.parquet, .csv, .jsonl): label, and uid + candidate, uid + text or image + text; "
            "or `marks`: those made in `capfilt browse`. Default: pairs built by exchanging texts of OUT.",
            show_default=False,
        ),
    ] = "",
    precision: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Precision to promise: share of correct texts among those kept, low end of its 95 % interval.",
        ),
    ] = 0.95,
    sample: Annotated[
        int, typer.Option(metavar="IMAGES", min=2, help="Without --pairs: images of OUT to build pairs from.")
    ] = 500,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the sample and of the confidence intervals.")
    ] = 0,
) -> None:
    """Measure how reliable the scores are; recommend thresholds.

    Without --pairs, texts of other images serve as wrong texts, and the share of wrong texts in OUT is estimated from
    how similar the scores are. Errors that no judge detects are not counted: label some pairs to measure them.
    """
    from capfilt.commands.calibrate import calibrate_and_draw
    from capfilt.core.storage import Folder

    result = calibrate_and_draw(Folder.at(out), pairs, precision=precision, images=sample, seed=seed)
    _report(out, result)


def _report(out: str, result: "Calibration") -> None:
    from capfilt.cli.terminal import console

    for source, kinds in result.pairs.items():
        console.say(f"{source}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    for reason, count in result.left_out.items():
        console.say(f"left out: {count} pairs, {reason}")
    quality = [_quality(one) for one in result.measured]
    console.table(("judge", "texts", "AUC", "hard", "wrong", "ECE", "fitted"), quality)
    cuts = [row for one in result.measured for row in _cuts(one, result.precision)]
    console.table(("judge", "texts", "threshold", "for", "kept", "precision, %", "recall"), cuts)
    if result.mix:
        console.table(("mix of", "weight"), [(name, f"{effect:+.2f}") for name, effect in result.mix.effects.items()])
    console.say()
    if result.mix:
        console.say("mix: weights per standard deviation; use it by --set select.policy=mix")
    for what, why in result.unmeasured.items():
        console.say(f"not measured: {what}: {why}")
    if result.made:
        console.say("errors that no judge detects are not counted: label some pairs, --pairs FILE")
    console.say(f"curves: {out.rstrip('/')}/calibration/*.svg")


def _quality(one: "JudgeMeasurement") -> tuple[str | float | None, ...]:
    of_score = None if one.error is None else f"{one.error:.3f}"
    hard = f"{one.auc_by_kind['hard']:.3f}" if "hard" in one.auc_by_kind else None
    auc = _interval(one.auc, 3)
    return (one.column, one.source, auc, hard, _percent(one.noise), of_score, f"{one.error_fitted:.3f}")


def _cuts(one: "JudgeMeasurement", precision: float) -> list[tuple[str, ...]]:
    rows = [(one.current, "now"), (one.recommended, f"{precision:.0%}")]
    shown = [_cut(one, cut, why) for cut, why in rows if cut]
    if not one.recommended:
        shown.append((one.column, one.source, "none", rows[1][1], "-", "-", "-"))
    return shown


def _cut(one: "JudgeMeasurement", cut: "Cut", why: str) -> tuple[str, ...]:
    shares = (_percent(cut.keep), _interval_percent(cut.precision), _percent(cut.recall))
    return (one.column, one.source, f"{cut.threshold:.6g}", why, *shares)


def _interval(estimate: "Estimate", digits: int) -> str:
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} {estimate.high:.{digits}f})"


def _interval_percent(estimate: "Estimate") -> str:
    return f"{100 * estimate.value:.1f} ({100 * estimate.low:.0f} {100 * estimate.high:.0f})"


def _percent(estimate: "Estimate") -> str:
    return percent(estimate.value)
