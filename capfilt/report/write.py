"""From the folder of a run to its report."""

from pathlib import PurePosixPath
from typing import Any, Final

from capfilt.charts.calibration import calibration_charts
from capfilt.core.serialization import to_toml
from capfilt.core.storage import Folder
from capfilt.ledger.session import read_sessions
from capfilt.ledger.status import status
from capfilt.pipelines.calibration.calibrate import read_calibration
from capfilt.report.counts import decided, failures, hosts, kept_images
from capfilt.report.database import ReportDatabase, open_database
from capfilt.report.drawings import field_charts, length_charts, rows_sankey, score_charts, texts_sankey
from capfilt.report.effort import effort
from capfilt.report.examples import VIEWS, choose
from capfilt.report.language import TEXTS, lengths, varieties
from capfilt.report.lookalikes import lookalikes
from capfilt.report.page import STATIC, render
from capfilt.report.scores import histograms, joint_histograms
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
    with open_database(folder) as database:
        page = render(STATIC / "report.html", _facts(database), STATIC / "report.js").encode()
    folder.write(NAME, page)
    return page


def _facts(database: ReportDatabase) -> dict[str, Any]:
    folder = database.ledger.folder
    stand, texts, kept = status(folder), decided(database), kept_images(database)
    examples, alike = choose(database), lookalikes(database)
    wanted = [*(one.uid for one in examples), *(uid for _, uids in alike.shown for uid in uids)]
    calibration = read_calibration(folder)
    return {
        "name": PurePosixPath(folder.path).name,
        "stand": stand,
        "effort": effort(read_sessions(folder)),
        "kept_images": kept,
        "kept": sum(one.count for one in texts if one.keep),
        "texts": sum(one.count for one in texts),
        "flows": [rows_sankey(stand, kept), texts_sankey(texts)],
        "scores": score_charts(histograms(database), database.threshold),
        "fields": field_charts(joint_histograms(database)),
        "views": VIEWS,
        "examples": examples,
        "alike": alike,
        "pictures": thumbnails(database.ledger, wanted),
        "lengths": length_charts(lengths(database)),
        "varieties": varieties(database),
        "read": TEXTS,
        "failures": failures(database, stand),
        "hosts": hosts(database),
        "calibration": calibration,
        "curves": calibration_charts(calibration) if calibration else {},
        "trainings": loss_curves(database.ledger.run["recipe"]),
        **_origin(database),
    }


def _origin(database: ReportDatabase) -> dict[str, Any]:
    """What the run was made from."""
    run, selection = database.ledger.run, database.ledger.selection()
    inputs = database.ledger.inputs()
    digests = {
        "plan": run["plan"],
        **{name: digest for name, digest in run["models"].items()},
        **({f"policy {selection['policy']}": selection["sha256"]} if selection else {}),
        "commits": database.ledger.fingerprint(),
    }
    return {
        "digests": digests,
        "inputs": inputs[:INPUTS],
        "left_out": database.ledger.left_out(),
        "more_inputs": max(len(inputs) - INPUTS, 0),
        "versions": run["versions"],
        "recipe": to_toml(run["recipe"]),
        "selection": to_toml(selection) if selection else "",
    }
