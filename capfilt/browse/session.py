"""All that one `capfilt browse` works with, and the two things it can change: marks, and the selection."""

import threading
from dataclasses import asdict
from typing import Final

import numpy as np

from capfilt.browse.filters import TextFilter
from capfilt.browse.index import Index, Json, Missing, finite
from capfilt.browse.numbers import ThresholdCounter
from capfilt.browse.thumbnails import SIZES, Thumbnails
from capfilt.core.config import SelectSettings
from capfilt.core.errors import BusyError, ConfigError
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.marks import MarkBook
from capfilt.pipelines.recipes.load import make_recipe
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.tombstones import Tombstones

POLICY: Final = "blip"
"""The policy that a threshold alone means: every text is judged by itself, and kept from that score on."""


class BrowseSession:
    """One run, opened to look at and to decide; safe to call from several threads.

    Raises:
        InputError: there is no run at `ledger`.
        BusyError: the run grew while it was read.
        IntegrityError: the run's files do not fit together.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._forgotten = Tombstones.of(ledger.folder).asked  # before the tables: what is forgotten later is seen
        records = ledger.records()
        ledger.balance(records)
        self._ledger = ledger
        self._commits = ledger.fingerprint(records)
        self._settings = _settings(ledger)
        self.index = Index(ledger, records, self._settings)
        self._counter = ThresholdCounter(self.index)
        self._thumbnails = Thumbnails(ledger)
        self._book = MarkBook(ledger.folder)
        self._marking, self._selecting, self._forgetting = threading.Lock(), threading.Lock(), threading.Lock()

    def honor_forget(self) -> None:
        """Let go of rows that were forgotten since the run was read; asked before every answer.

        Raises:
            BusyError: rows are being forgotten just now.
        """
        folder = self._ledger.folder
        with self._forgetting:
            stones = Tombstones.of(folder)
            if stones.before:
                self._book.drop(lambda uid: stones.hash("uid", uid) in stones.pending)
                raise BusyError(
                    f"{folder.location}: rows are being forgotten; try again when `capfilt forget` has ended"
                )
            if stones.asked == self._forgotten:
                return
            self.index.drop_forgotten()
            there = self.index.uids()
            self._book.drop(lambda uid: uid not in there)
            self._counter = ThresholdCounter(self.index)
            self._thumbnails.forget()
            self._commits = self._ledger.fingerprint()
            self._forgotten = stones.asked

    def check(self, wanted: TextFilter) -> None:
        """Refuse a filter that asks about scores and names no judge of this run.

        Raises:
            ConfigError: one line with the judges there are.
        """
        if wanted.judge or wanted.sort != "run" or {wanted.t, wanted.low, wanted.high} != {None}:
            self._check_judge(wanted.judge)

    def _check_judge(self, judge: str) -> None:
        if judge not in self.index.judges:
            raise ConfigError(f"judge = {judge!r}; this run has: {', '.join(self.index.judges) or 'none'}")

    def facts(self) -> Json:
        """What the page shows of the run as a whole."""
        chosen, judges = self._ledger.selection(), self.index.judges
        return {
            "location": self._ledger.folder.location,
            "judges": judges,
            "judge": self._settings.judge if self._settings.judge in judges else next(iter(judges), ""),
            "threshold": self._settings.threshold,
            "selection": {key: chosen.get(key, "") for key in ("name", "policy")} if chosen else None,
            "current": chosen.get("commits") == self._commits,
            "names": self._ledger.selections(),
            **self._totals(),
        }

    def _totals(self) -> Json:
        count = self.index.query
        texts = count(
            "SELECT source, count(*) AS n, count(*) FILTER (keep) AS kept FROM texts GROUP BY ALL ORDER BY ALL"
        ).to_pylist()
        reasons = (
            "SELECT reason, count(*) AS n FROM {} WHERE reason IS NOT NULL GROUP BY reason ORDER BY n DESC, reason"
        )
        return {
            "images": count("SELECT count(*) AS n FROM images")["n"][0].as_py(),
            "texts": {row["source"]: row["n"] for row in texts},
            "kept": {row["source"]: row["kept"] for row in texts},
            "kept_images": count("SELECT count(DISTINCT place) AS n FROM texts WHERE keep")["n"][0].as_py(),
            "reasons": count(reasons.format("texts")).to_pylist(),
            "failures": count(reasons.format("failures")).to_pylist(),
        }

    def numbers(self, wanted: TextFilter) -> Json:
        """What thresholds keep of a judge's texts: all of the slider's, or the filter's one alone."""
        self._check_judge(wanted.judge)
        one = wanted.t is not None
        return asdict(
            self._counter.count(wanted.judge, np.array([wanted.t]) if one else self._counter.slider(wanted.judge))
        )

    def marks(self) -> list[Json]:
        """All marks that hold, with what the scores say."""
        rows = self.index.query('SELECT * EXCLUDE (text, keep, rank, reason) FROM shown WHERE "right" IS NOT NULL')
        return [
            {"place": row["place"], "candidate": row["candidate"], "right": row["right"], "decidable": row["decidable"]}
            | {"scores": {judge: finite(row[judge]) for judge in self.index.judges}}
            for row in rows.to_pylist()
        ]

    def mark(self, uid: str, candidate: int, right: bool | None) -> Json:
        """Write down that a text is right, wrong or, with None, not marked any more."""
        _, text = self.index.text(uid, candidate)
        with self._marking:
            # On the disk first, and shown then: a mark that is seen is kept.
            self._book.mark(uid, candidate, text, right)
            # Again: a forget that began since it was asked for may have gone through marks/ before this one was there.
            self.honor_forget()
            place, _ = self.index.text(uid, candidate)
            self.index.mark(place, candidate, right)
        return {"place": place, "candidate": candidate, "right": right}

    def select(self, name: str, judge: str, threshold: float) -> Json:
        """Keep by a threshold, exactly as `capfilt select` does, and show the run as decided so.

        Flags rule texts out as in the selection before; a mix or probabilities it may have had are given up.

        Raises:
            ConfigError: the name, or the judge.
            BusyError: another process works on the run.
        """
        self._check_judge(judge)
        if not name:
            raise ConfigError("the selection needs a name")
        settings = self._settings.model_copy(update={"judge": judge, "threshold": threshold})
        with self._selecting, self._ledger.lock():
            images = self._ledger.selection().get("images", self._ledger.run["recipe"]["output"]["images"])
            made = select(self._ledger.folder, settings, images, name=name)
            self.index.load_decisions()
            self._settings = settings
        return asdict(made)

    def picture(self, place: int, size: int) -> bytes:
        """A JPEG of an image, its longest side at most `size` pixels.

        Raises:
            Missing: there is no such image, or none of that size is made.
            BadImage: the image cannot be decoded.
        """
        if size not in SIZES:
            raise Missing(f"size = {size}: must be one of {SIZES}")
        spot = self.index.spot(place)
        return self._thumbnails.draw(spot.chunk, spot.row, spot.uid, size)


def _settings(ledger: Ledger) -> SelectSettings:
    """The flags of the current selection, or else of the run's recipe, and its judge and threshold, for `POLICY`."""
    chosen = ledger.selection()
    base = chosen["parameters"] if chosen else ledger.run["recipe"]["select"]
    settings = make_recipe({"select": {**base, "policy": POLICY}}, origin=ledger.folder.location).select
    return settings.model_copy(update={"calibrated": False, "synthetic_share": -1.0})
