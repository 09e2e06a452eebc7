"""Deciding: flags rule texts out, a policy decides over the others, and the mix is brought to what was asked for.

All of it is SQL over captions/ without an image in sight. DuckDB keeps what does not fit its memory in files, and what
comes out is read row by row, so ten million candidates need about the memory of one million.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from capfilt.core import duckdb_sandbox, schema
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ConfigError, IntegrityError
from capfilt.ledger.joined import captions, captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.selection.policy import Policy, answer, execute, show_captions
from capfilt.pipelines.selection.scores import define_probabilities, judge_columns, read_knots
from capfilt.pipelines.selection.text_rules import active_rules, rule_parameters, rules_sql

BALANCE: Final = Path(__file__).parent / "balance.sql"

MEMORY: Final = "1GB"
"""What DuckDB holds in memory before it goes on in files."""

VERDICT: Final = pa.schema([schema.DECISIONS.field(name) for name in ("keep", "rank", "reason")])
"""What is decided of a row of captions/."""

TOO_MANY: Final = (
    (
        "makes candidates up",
        "SELECT uid, candidate FROM answer ANTI JOIN open USING (uid, candidate)",
    ),
    (
        "decides candidates more than once",
        "SELECT uid, candidate FROM answer GROUP BY ALL HAVING count(*) > 1",
    ),
)
"""What a policy may do wrong that gives more rows than it was shown, each with the SQL that finds an example."""

FAULTS: Final = (
    (
        "leaves candidates out",
        "SELECT uid, candidate FROM decided WHERE NOT answered",
    ),
    (
        "leaves keep or reason empty",
        "SELECT uid, candidate FROM decided WHERE keep IS NULL OR reason IS NULL",
    ),
    (
        "must rank kept candidates, and only them",
        "SELECT uid, candidate FROM decided WHERE keep <> (rank IS NOT NULL)",
    ),
    (
        "must rank the kept candidates of an image 1, 2, 3, ...",
        "SELECT uid, max(candidate) FROM decided WHERE keep GROUP BY uid"
        " HAVING min(rank) <> 1 OR max(rank) <> count(*) OR count(DISTINCT rank) <> count(*)",
    ),
)
"""What else it may do wrong."""

_COUNTED: Final = ("places", "decided", "open", "answer")


@contextmanager
def decide(
    ledger: Ledger, chunks: Sequence[str], policy: Policy, settings: SelectSettings
) -> Iterator[pa.RecordBatchReader]:
    """Decide over all of captions/ and check the result, then give `VERDICT`, row by row as in captions/.

    Args:
        chunks: the committed ones, in order.

    Raises:
        ConfigError: the policy is wrong, or does not decide every candidate once; names the policy.
        IntegrityError: an image is committed by two chunks.
    """
    judges = judge_columns(captions_schema(ledger))
    plain = ledger.dataset("captions", schema.captions_schema(()), chunks)
    tables = {"candidates": captions(ledger, chunks), "reader": _numbered(plain, settings)}
    with duckdb_sandbox.connect(tables, MEMORY) as database:
        _create_places(database, settings)
        if _first(database, "FROM places"):
            _ask(database, ledger, policy, settings, judges)
        else:  # no image, so no judge ever spoke: the policy's columns are not there, and not needed
            database.execute("CREATE TABLE decided AS SELECT place, true AS keep, 1 AS rank, '' AS reason FROM places")
        yield database.sql("SELECT keep, rank, reason FROM decided ORDER BY place").to_arrow_reader(50_000)


def _numbered(captions: Any, settings: SelectSettings) -> pa.RecordBatchReader:
    """What flags look at, with the position of each row in captions/, by which decisions find back to it."""
    names = ["uid", "candidate", "source", "flags", *(["text"] if active_rules(settings) else [])]
    fields = pa.schema([*(captions.schema.field(name) for name in names), ("place", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in captions.to_batches(columns=names):
            places = pa.array(np.arange(start, start + batch.num_rows))
            yield pa.record_batch([*(batch[name] for name in names), places], schema=fields)
            start += batch.num_rows

    return pa.RecordBatchReader.from_batches(fields, batches())


def _create_places(database: duckdb.DuckDBPyConnection, settings: SelectSettings) -> None:
    """`places`: every candidate, and why it is ruled out or NULL; `open`: those that are not."""
    words = r", regexp_extract_all(lower(text), '\S+') AS words" if active_rules(settings) else ""
    sql = (
        f"CREATE TABLE places AS SELECT place, uid::UUID AS uid, candidate, source, {rules_sql(settings)} AS flag"
        f" FROM (SELECT *{words} FROM reader)"
    )
    execute(database, sql, rule_parameters(settings))
    database.execute("CREATE VIEW open AS FROM places WHERE flag IS NULL")


def _ask(
    database: duckdb.DuckDBPyConnection, ledger: Ledger, policy: Policy, settings: SelectSettings, judges: Sequence[str]
) -> None:
    """`decided`: what the policy, or before it a flag, says of every place, in the mix that is asked for."""
    if settings.calibrated:
        knots = read_knots(ledger.folder)
        judges = [judge for judge in judges if judge in knots]
        define_probabilities(database, settings, knots)
    ruled_out = _first(database, "FROM places WHERE flag IS NOT NULL")
    rest = "ANTI JOIN (FROM places WHERE flag IS NOT NULL) p ON p.uid = c.uid::UUID AND p.candidate = c.candidate"
    show_captions(database, judges, settings, rest if ruled_out else "")
    answer(database, policy, settings, judges)
    database.execute(
        "CREATE TABLE decided AS SELECT place, uid, candidate, source, flag IS NULL AND keep AS keep, rank,"
        " coalesce(flag, reason) AS reason, flag IS NOT NULL OR answered IS NOT NULL AS answered"
        " FROM places LEFT JOIN (SELECT *, true AS answered FROM answer) USING (uid, candidate)"
    )
    _check(database, policy)
    if settings.synthetic_share >= 0:
        execute(
            database, f"CREATE TABLE mixed AS {BALANCE.read_text(encoding='utf-8')}", settings.model_dump(mode="json")
        )
        database.execute("DROP TABLE decided")
        database.execute("ALTER TABLE mixed RENAME TO decided")


def _check(database: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """Find what the policy did wrong; what takes long is looked for only where the numbers of rows do not fit."""
    counts = [_first(database, f"SELECT count(*) FROM {table}")[0] for table in _COUNTED]
    fits = counts[0] == counts[1] and counts[2] >= counts[3]
    twice = "SELECT uid FROM places GROUP BY uid, candidate HAVING count(*) > 1"
    if not fits and (found := _first(database, twice)):
        raise IntegrityError(f"image {found[0].hex} is committed by two chunks")
    for fault, example in FAULTS if fits else (*TOO_MANY, *FAULTS):
        if found := _first(database, example):
            raise ConfigError(f"policy {policy.name} {fault}, such as candidate {found[1]} of image {found[0].hex}")


def _first(database: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The first row, () if there is none; leaves no open result behind."""
    return next(iter(database.execute(f"{sql} LIMIT 1").fetchall()), ())
