"""A run laid out to be asked: one database with the run's tables and all texts with their decisions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from duckdb import DuckDBPyConnection

from capfilt.core.duckdb_sandbox import quoted
from capfilt.core.storage import Folder
from capfilt.ledger.joined import captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines import query
from capfilt.pipelines.calibration.calibrate import threshold_in_use
from capfilt.pipelines.selection.scores import judge_columns

T = TypeVar("T")

SOURCES: Final = ("web", "human", "synthetic")
"""Of texts, in the order they are told."""

READ: Final = 4000
"""Characters of a text that words are counted in."""

WORDS: Final = rf"len(regexp_extract_all(left(text, {READ}), '\S+'))"
# The host alone: a user and password before it, and a port behind it, are passed over.
HOST: Final = r"coalesce(lower(regexp_extract(url, '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?([^/?#:@]+)', 1)), '')"


@dataclass(frozen=True, slots=True)
class ReportDatabase:
    """What every part of the report asks."""

    ledger: Ledger
    connection: DuckDBPyConnection  # the views of `query.connect`, and the tables `texts` and `pictures`
    judges: tuple[str, ...]  # columns of scores
    threshold: tuple[str, float] | None  # judge's column and threshold of the selection

    @property
    def score(self) -> str | None:
        """The judge's column that decides, or the first one; None if no judge scored the run."""
        return self.threshold[0] if self.threshold else next(iter(self.judges), None)

    @property
    def other_score(self) -> str | None:
        """The column to hold against `score`: CLIP's if there is one, or else another."""
        rest = [name for name in self.judges if name != self.score]
        return next((name for kind in ("clip", "itc", "") for name in rest if name.startswith(kind)), None)

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The answer to a query with $parameters."""
        return self.connection.execute(sql, parameters).fetchall()


@contextmanager
def open_database(folder: Folder) -> Iterator[ReportDatabase]:
    """Open a run, and read what every part asks for once.

    `texts` has of every candidate uid, candidate, source, words, keep and reason (null: undecided) and all scores;
    `pictures` has of every image uid, phash and host (without a user's name; empty where there is no URL).

    Raises:
        InputError: there is no run here.
        IntegrityError: a committed file is missing.
    """
    ledger = Ledger(folder)
    judges = tuple(judge_columns(captions_schema(ledger)))
    in_use = threshold_in_use(ledger.selection())
    with query.connect(folder) as connection:
        scores = "".join(f", {quoted(name)}" for name in judges)
        connection.execute(
            f"CREATE TABLE texts AS SELECT uid, candidate, source, {WORDS} AS words, keep, reason{scores} "
            "FROM captions LEFT JOIN decisions USING (uid, candidate)"
        )
        connection.execute(f"CREATE TABLE pictures AS SELECT uid, phash, {HOST} AS host FROM images")
        yield ReportDatabase(ledger, connection, judges, in_use if in_use and in_use[0] in judges else None)


def in_order(by_source: Mapping[str, T]) -> list[tuple[str, T]]:
    """The items, in the order of `SOURCES`."""
    return sorted(by_source.items(), key=lambda item: SOURCES.index(item[0]))
