"""The run as the page sees it: its tables in a database in memory, all but the bytes of the images.

Images are numbered by their `place` in images/. The page sees what was committed when this was made; only decisions
(after a selection) and marks change.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from capfilt.browse.filters import TextFilter, kept, order, where
from capfilt.core import duckdb_sandbox, schema
from capfilt.core.config import SelectSettings
from capfilt.core.duckdb_sandbox import is_vector, quoted
from capfilt.core.errors import BusyError
from capfilt.ledger.joined import captions, captions_schema, images, images_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.marks import read_marks
from capfilt.pipelines.selection.condition import create_meets
from capfilt.pipelines.selection.policy import execute
from capfilt.pipelines.selection.scores import judge_columns
from capfilt.pipelines.selection.text_rules import rule_parameters, rules_sql

PAGE: Final = 48
"""Images, or failures, a page."""

TEXTS: Final = 12
"""Texts of one image that stand in the grid; those that pass the filter come first."""

SHORT: Final = 300
LONG: Final = 20_000
"""Characters of a text that are shown: in the grid, and of one image alone."""

IMAGES: Final = "image_files"
"""images/ with the columns of its layers; `images` is what the page asks, by place."""

REMEMBERED: Final = 8
"""Filters whose answer is remembered, so that turning a page asks for no more than a page."""

Json = dict[str, Any]

# Numbered once, so that the pages of one reason are always cut alike.
FAILURES: Final = (
    "CREATE TABLE failures AS SELECT row_number() OVER (ORDER BY source) AS number, url, source, stage, reason,"
    " detail FROM failure_files"
)

_PICTURE: Final = ("place", "uid", "url", "width", "height", "format")


class Missing(LookupError):
    """There is no such image or text."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an image is."""

    uid: str
    chunk: str
    row: int  # in the chunk's file


class Index:
    """Answers about one run; safe to call from several threads.

    Args:
        records: `Ledger.records`.
        settings: whose flags rule texts out, so that no threshold keeps them.

    Raises:
        BusyError: the run grew while it was read.
    """

    def __init__(self, ledger: Ledger, records: pa.Table, settings: SelectSettings) -> None:
        self.ledger = ledger
        self.judges = judge_columns(captions_schema(ledger))
        self._chunks = records["chunk"].to_pylist()
        self._ends = np.cumsum(records["images"].to_numpy())
        self._remembered = lru_cache(REMEMBERED)(self._find)
        tables = {
            "picture_reader": _with_places(ledger),
            "candidates": captions(ledger),  # the name that flags know it by
            IMAGES: images(ledger),
            "failure_files": ledger.dataset("failures", schema.FAILURES),
            "mark_files": read_marks(ledger.folder),
        }
        self._database = duckdb_sandbox.connect(tables)
        self.facts = _fact_columns(images_schema(ledger))
        for sql in _tables(self.judges, self.facts, settings):
            execute(self._database, sql, rule_parameters(settings))
        if settings.where:
            create_meets(self._database, settings.where, images=IMAGES)
            self._database.execute(
                "UPDATE texts SET decidable = false WHERE (place, candidate) NOT IN"
                " (SELECT place, candidate FROM meets JOIN images ON images.uid::UUID = meets.uid)"
            )
        if self.query("SELECT count(*) AS n FROM images")["n"][0].as_py() != sum(records["images"].to_pylist()):
            raise BusyError(f"{ledger.folder.location}: chunks were committed while it was read: try again")
        self.load_decisions()

    def load_decisions(self) -> None:
        """Read the current selection: at the start, and after each new one."""
        there = bool(self.ledger.selection())
        columns = schema.DECISIONS
        with self._database.cursor() as cursor:
            cursor.register("files", self.ledger.dataset("decisions", columns) if there else columns.empty_table())
            cursor.execute(
                "CREATE OR REPLACE TABLE texts AS"
                " SELECT texts.* REPLACE (files.keep AS keep, files.rank AS rank, files.reason AS reason)"
                " FROM texts JOIN images USING (place) LEFT JOIN files USING (uid, candidate) ORDER BY place, candidate"
            )
        self._remembered.cache_clear()

    def drop_forgotten(self) -> None:
        """Drop the images and failures that are not in the run any more; all others keep their places."""
        gone = "(SELECT place FROM images WHERE uid NOT IN (SELECT uid FROM there))"
        with self._database.cursor() as cursor:
            cursor.register("there", self.ledger.dataset("images", schema.IMAGES).to_table(columns=["uid"]))
            cursor.register("failure_files", self.ledger.dataset("failures", schema.FAILURES))
            for table in ("texts", "marks", "images"):
                cursor.execute(f"DELETE FROM {table} WHERE place IN {gone}")
            cursor.execute(FAILURES.replace("CREATE", "CREATE OR REPLACE"))
        self._remembered.cache_clear()

    def uids(self) -> set[str]:
        """Of all images."""
        return set(self.query("SELECT uid FROM images")["uid"].to_pylist())

    def query(self, sql: str, values: Json | None = None) -> pa.Table:
        """The answer to SQL over images, texts (with decisions), failures and `shown`, which is texts with marks."""
        # A cursor each: a connection of DuckDB's serves one thread at a time.
        with self._database.cursor() as cursor:
            return cursor.sql(sql, params=values or {}).to_arrow_table()

    def spot(self, place: int) -> Spot:
        """Where the bytes of an image are; `Missing` if there is no such place."""
        found = self.query("SELECT uid FROM images WHERE place = $place", {"place": place})
        if not found.num_rows:
            raise Missing(f"image {place}")
        chunk = int(np.searchsorted(self._ends, place, side="right"))
        first = int(self._ends[chunk - 1]) if chunk else 0
        return Spot(found["uid"][0].as_py(), self._chunks[chunk], place - first)

    def page(self, wanted: TextFilter, number: int) -> Json:
        """The images of one page, from 0, with their texts; `total` counts all that the filter lets through."""
        places = self._find(wanted) if wanted.mark else self._remembered(wanted)  # a mark may change any time
        here = places[number * PAGE : (number + 1) * PAGE]
        return {"total": len(places), "page": number, "size": PAGE, "images": self._cards(here, wanted, TEXTS, SHORT)}

    def image(self, place: int, wanted: TextFilter) -> Json:
        """One image with all its texts; `Missing` if there is no such place."""
        cards = self._cards(np.array([place]), wanted, None, LONG)
        if not cards:
            raise Missing(f"image {place}")
        return cards[0] | {"facts": self._facts(place)}

    def failures(self, reason: str, number: int) -> Json:
        """One page of the rows that did not become an image, of all reasons or one."""
        test, values = ("reason = $reason", {"reason": reason}) if reason else ("true", {})
        total = self.query(f"SELECT count(*) AS n FROM failures WHERE {test}", values)["n"][0].as_py()
        rows = self.query(
            f"SELECT left(url, {SHORT}) AS url, left(source, {SHORT}) AS source, stage, reason,"
            f" left(detail, {SHORT}) AS detail FROM failures WHERE {test}"
            f" ORDER BY number LIMIT {PAGE} OFFSET {number * PAGE}",
            values,
        )
        return {"total": total, "page": number, "size": PAGE, "failures": rows.to_pylist()}

    def text(self, uid: str, candidate: int) -> tuple[int, str]:
        """Place and text of a candidate; `Missing` if there is none."""
        found = self.query(
            "SELECT place, text FROM texts JOIN images USING (place) WHERE uid = $uid AND candidate = $candidate",
            {"uid": uid, "candidate": candidate},
        ).to_pylist()
        if not found:
            raise Missing(f"candidate {candidate} of image {uid}")
        return found[0]["place"], found[0]["text"]

    def mark(self, place: int, candidate: int, right: bool | None) -> None:
        """Show a mark, or none any more."""
        with self._database.cursor() as cursor:
            cursor.execute("INSERT OR REPLACE INTO marks VALUES ($1, $2, $3)", [place, candidate, right])

    def _find(self, wanted: TextFilter) -> NDArray[np.int64]:
        """The places of all images that pass, in the order asked for."""
        (test, values), (sorting, more) = where(wanted), order(wanted)
        sql = f"SELECT place FROM shown WHERE {test} GROUP BY place ORDER BY {sorting}"
        places: NDArray[np.int64] = self.query(sql, values | more)["place"].to_numpy()
        return places

    def _cards(self, places: NDArray[np.int64], wanted: TextFilter, limit: int | None, length: int) -> list[Json]:
        here = ", ".join(str(int(place)) for place in places) or "NULL"
        pictures = self.query(f"SELECT {', '.join(_PICTURE)} FROM images WHERE place IN ({here})").to_pylist()
        cards: dict[int, Json] = {picture["place"]: {**picture, "texts": [], "more": 0} for picture in pictures}
        for text in self._texts(here, wanted, length):
            card = cards[text.pop("place")]
            if limit is None or text.pop("turn") <= limit:
                card["texts"].append(text)
            else:
                card["more"] += 1
        return [cards[place] for place in places.tolist() if place in cards]

    def _facts(self, place: int) -> Json:
        """What image judges say of an image, by column."""
        if not self.facts:
            return {}
        columns = ", ".join(map(quoted, self.facts))
        (row,) = self.query(f"SELECT {columns} FROM images WHERE place = $place", {"place": place}).to_pylist()
        return {name: finite(value) if isinstance(value, float) else value for name, value in row.items()}

    def _texts(self, here: str, wanted: TextFilter, length: int) -> Iterator[Json]:
        (test, values), (keep, more) = where(wanted), kept(wanted)
        table = self.query(
            f"SELECT place, candidate, source, left(text, {length}) AS text, length(text) AS length, captioner, flags,"
            f' keep, rank, reason, decidable, "right", coalesce({test}, false) AS hit, {keep} AS shown,'
            f" row_number() OVER (PARTITION BY place ORDER BY hit DESC, candidate) AS turn"
            f"{''.join(f', {quoted(judge)}' for judge in self.judges)}"
            f" FROM shown WHERE place IN ({here}) ORDER BY place, candidate",
            values | more,
        )
        for row in table.to_pylist():
            yield row | {"scores": {judge: finite(row.pop(judge)) for judge in self.judges}}


def finite(score: float | None) -> float | None:
    """A score as JSON can say it: an infinite one becomes the largest number there is."""
    return score if score is None or math.isfinite(score) else math.copysign(np.finfo(np.float64).max.item(), score)


def _with_places(ledger: Ledger) -> pa.RecordBatchReader:
    """images/ without the bytes, every row with its place."""
    columns = [schema.IMAGES.field(name) for name in _PICTURE[1:]]
    with_place = pa.schema([("place", pa.int64()), *columns])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in ledger.dataset("images", schema.IMAGES).to_batches(columns=list(_PICTURE[1:])):
            places = pa.array(np.arange(start, start + batch.num_rows))
            yield pa.record_batch([places, *batch.columns], schema=with_place)
            start += batch.num_rows

    return pa.RecordBatchReader.from_batches(with_place, batches())


def _fact_columns(images: pa.Schema) -> list[str]:
    """The columns of image judges that can be shown: an embedding would only fill memory."""
    return [field.name for field in images if field.name not in schema.IMAGES.names and not is_vector(field.type)]


def _tables(judges: list[str], facts: list[str], settings: SelectSettings) -> tuple[str, ...]:
    scores = "".join(f", CASE WHEN NOT isnan({name}) THEN {name} END AS {name}" for name in map(quoted, judges))
    told = "".join(f", {IMAGES}.{quoted(name)}" for name in facts)
    return (
        f"CREATE TABLE images AS SELECT picture_reader.*{told} FROM picture_reader"
        + (f" LEFT JOIN {IMAGES} USING (uid)" if facts else "")
        + " ORDER BY place",
        "CREATE TABLE texts AS SELECT place, candidate, source, text, captioner, flags,"
        f" {rules_sql(settings)} IS NULL AS decidable{scores}, false AS keep, 0 AS rank, '' AS reason"
        r" FROM (SELECT *, regexp_extract_all(lower(text), '\S+') AS words FROM candidates) JOIN images USING (uid)",
        FAILURES,
        'CREATE TABLE marks (place BIGINT, candidate INTEGER, "right" BOOLEAN, PRIMARY KEY (place, candidate))',
        'INSERT INTO marks SELECT place, candidate, "right" FROM mark_files JOIN images USING (uid)',
        "CREATE VIEW shown AS FROM texts LEFT JOIN marks USING (place, candidate)",
    )
