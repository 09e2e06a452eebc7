"""From the folder of a run to its report."""

from pathlib import PurePosixPath
from typing import Any, Final

from capfilt.charts.calibration import calibration_charts
from capfilt.core.serialization import to_toml
from capfilt.core.storage import Folder
from capfilt.ledger.status import status
from capfilt.pipelines.calibration.calibrate import read_calibration
from capfilt.report.counts import decided, failures, hosts, kept_images
from capfilt.report.database import Desk, lay_out
from capfilt.report.drawings import field_charts, length_charts, rows_flow, score_charts, texts_flow
from capfilt.report.effort import effort
from capfilt.report.examples import VIEWS, choose
from capfilt.report.language import TEXTS, lengths, varieties
from capfilt.report.lookalikes import lookalikes
from capfilt.report.page import render
from capfilt.report.scores import field, histograms
from capfilt.report.thumbnails import thumbnails
from capfilt.report.training import loss_curves

NAME: Final = "report.html"
"""The file in the folder of the run."""

INPUTS: Final = 20
"""Inputs that are listed."""


def write_report(folder: Folder) -> bytes:
    """Make the report of a run, finished or not, and write it into its folder.

    Raises:
        InputError: there is no run here.
        IntegrityError: a committed file is missing, or the plan is not the run's.
    """
    with lay_out(folder) as desk:
        page = render(_facts(desk)).encode()
    folder.write(NAME, page)
    return page


def _facts(desk: Desk) -> dict[str, Any]:
    folder = desk.ledger.folder
    stand, texts, kept = status(folder), decided(desk), kept_images(desk)
    examples, alike = choose(desk), lookalikes(desk)
    wanted = [*(one.uid for one in examples), *(uid for _, uids in alike.shown for uid in uids)]
    calibration = read_calibration(folder)
    return {
        "name": PurePosixPath(folder.path).name,
        "stand": stand,
        "effort": effort(desk.ledger.sessions()),
        "kept_images": kept,
        "kept": sum(one.count for one in texts if one.keep),
        "texts": sum(one.count for one in texts),
        "flows": [rows_flow(stand, kept), texts_flow(texts)],
        "scores": score_charts(histograms(desk), desk.threshold),
        "fields": field_charts(field(desk)),
        "views": VIEWS,
        "examples": examples,
        "alike": alike,
        "pictures": thumbnails(desk.ledger, wanted),
        "lengths": length_charts(lengths(desk)),
        "varieties": varieties(desk),
        "read": TEXTS,
        "failures": failures(desk, stand),
        "hosts": hosts(desk),
        "calibration": calibration,
        "curves": calibration_charts(calibration) if calibration else {},
        "trainings": loss_curves(desk.ledger.run["recipe"]),
        **_origin(desk),
    }


def _origin(desk: Desk) -> dict[str, Any]:
    """What the run was made from."""
    run, selection = desk.ledger.run, desk.ledger.selection()
    inputs = run["inputs"]
    digests = {
        "plan": run["plan"],
        **{name: digest for name, digest in run["models"].items()},
        **({f"policy {selection['policy']}": selection["sha256"]} if selection else {}),
        "commits": desk.ledger.fingerprint(),
    }
    return {
        "digests": digests,
        "inputs": inputs[:INPUTS],
        "more_inputs": max(len(inputs) - INPUTS, 0),
        "versions": run["versions"],
        "recipe": to_toml(run["recipe"]),
        "selection": to_toml(selection) if selection else "",
    }
