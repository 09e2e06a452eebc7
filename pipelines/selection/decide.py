"""Deciding: flags rule texts out, a policy decides over the others, and the mix is brought to what was asked for.

All of it is SQL over captions/ without an image in sight. The columns that are asked for are read once, chunk by chunk,
with those of the layers beside them: rows stand in the same order there, so nothing is joined. DuckDB keeps what does
not fit its memory in files, and what comes out is read row by row, so ten million candidates need about the memory of
one million.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from capfilt.core import duckdb_sandbox, schema
from capfilt.core.config import SelectSettings
from capfilt.core.duckdb_sandbox import quoted
from capfilt.core.errors import ConfigError, IntegrityError
from capfilt.ledger.joined import CaptionsReader, States, captions_schema, images, images_schema, texts_dataset
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.selection.ahead import ahead
from capfilt.pipelines.selection.condition import REASON, create_meets
from capfilt.pipelines.selection.policy import Policy, answer, columns_read, execute, reads_images, show_captions
from capfilt.pipelines.selection.scores import MIX, define_probabilities, judge_columns, read_knots, read_mix
from capfilt.pipelines.selection.text_rules import active_rules, rule_parameters, rules_sql

SHARE: Final = Path(__file__).parent / "share.sql"

MEMORY: Final = "1GB"
"""What DuckDB holds in memory before it goes on in files."""

READERS: Final = 2
"""Chunks read at once: what is read of one is a few files, and much of it is waiting."""

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

OWN: Final = ("uid", "candidate", "source", "flags")
"""Columns that are read for every policy: what flags, and the checks of an answer, look at."""

_COUNTED: Final = ("places", "decided", "open", "answer")


@contextmanager
def decide(
    ledger: Ledger, chunks: Sequence[str], policy: Policy, settings: SelectSettings, states: States = ()
) -> Iterator[pa.RecordBatchReader]:
    """Decide over all of captions/ and check the result, then give `VERDICT`, row by row as `CaptionsReader` reads it.

    Args:
        chunks: the committed ones, in order.
        states: of the run's layers.

    Raises:
        ConfigError: the policy is wrong, or does not decide every candidate once; names the policy.
        IntegrityError: an image is committed by two chunks.
    """
    columns = captions_schema(ledger)
    judges = judge_columns(columns)
    if mix := read_mix(ledger.folder, judges):
        judges.append(MIX)
    knots = read_knots(ledger.folder) if settings.calibrated else {}
    if settings.calibrated:
        judges = [judge for judge in judges if judge in knots]
    asked = columns_read(columns, images_schema(ledger), judges, knots, mix, policy, settings)
    own = [*OWN, *(["text"] if active_rules(settings) else [])]
    reader = CaptionsReader(ledger, dict.fromkeys((*own, *asked)), states)
    tables = {
        "reader": _numbered(reader, chunks),
        "candidates": texts_dataset(ledger, states),
    }
    if reads_images(policy, settings):
        tables["images"] = images(ledger, states)
    with duckdb_sandbox.connect(tables, MEMORY) as database:
        _create_places(database, settings, asked)
        if _first(database, "FROM places"):
            if settings.where:
                _rule_out(database, settings.where, _shown(database, columns, asked))
            database.execute(f"CREATE VIEW shown AS SELECT {_shown(database, columns, asked)} FROM open")
            define_probabilities(database, settings, knots)
            show_captions(database, judges, settings, "shown", mix)
            _ask(database, policy, settings, judges)
        else:  # no image, so no judge ever spoke: the policy's columns are not there, and not needed
            database.execute("CREATE TABLE decided AS SELECT place, true AS keep, 1 AS rank, '' AS reason FROM places")
        yield database.sql("SELECT keep, rank, reason FROM decided ORDER BY place").to_arrow_reader(50_000)


def _numbered(reader: CaptionsReader, chunks: Sequence[str]) -> pa.RecordBatchReader:
    """Rows of captions/ with the position of each, by which decisions find back to it."""
    fields = reader.schema.append(pa.field("place", pa.int64()))

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        with ThreadPoolExecutor(READERS) as pool:
            for table in ahead(pool, reader.read, chunks, 2 * READERS):
                places = pa.array(np.arange(start, start + table.num_rows))
                yield from table.append_column(fields.field("place"), places).to_batches()
                start += table.num_rows

    return pa.RecordBatchReader.from_batches(fields, batches())


def _create_places(database: duckdb.DuckDBPyConnection, settings: SelectSettings, asked: Sequence[str]) -> None:
    """`places`: every candidate, why it is ruled out or NULL, and what is asked; `open`: those that are not."""
    words = r", regexp_extract_all(lower(text), '\S+') AS words" if active_rules(settings) else ""
    others = "".join(f", {quoted(name)}" for name in asked if name not in ("uid", "candidate", "source"))
    sql = (
        f"CREATE TABLE places AS SELECT place, uid::UUID AS uid, candidate, source, {rules_sql(settings)} AS"
        f' "ruled out"{others} FROM (SELECT *{words} FROM reader)'
    )
    execute(database, sql, rule_parameters(settings))
    database.execute('CREATE VIEW open AS FROM places WHERE "ruled out" IS NULL')


def _rule_out(database: duckdb.DuckDBPyConnection, where: str, shown: str) -> None:
    """Rule out the texts that do not meet a condition, of those that no flag has ruled out."""
    database.execute(f"CREATE VIEW asked AS SELECT {shown} FROM open")
    create_meets(database, where, "asked")
    database.execute(
        f"""UPDATE places SET "ruled out" = '{REASON}' WHERE "ruled out" IS NULL"""
        " AND (uid, candidate) NOT IN (FROM meets)"
    )


def _shown(database: duckdb.DuckDBPyConnection, columns: pa.Schema, asked: Sequence[str]) -> str:
    """SQL of all columns of captions/ in their order; those that nobody asks for are not there, and nulls here."""
    kinds = database.from_arrow(columns.empty_table()).types
    return ", ".join(
        "replace(uid::VARCHAR, '-', '') AS uid"
        if name == "uid"
        else quoted(name)
        if name in {*asked, *OWN[:3]}
        else f"NULL::{kind} AS {quoted(name)}"
        for name, kind in zip(columns.names, kinds, strict=True)
    )


def _ask(database: duckdb.DuckDBPyConnection, policy: Policy, settings: SelectSettings, judges: Sequence[str]) -> None:
    """`decided`: what the policy, or before it a flag, says of every place, in the mix that is asked for."""
    answer(database, policy, settings, judges)
    database.execute(
        'CREATE TABLE decided AS SELECT place, uid, candidate, source, "ruled out" IS NULL AND keep AS keep, rank,'
        ' coalesce("ruled out", reason) AS reason, "ruled out" IS NOT NULL OR answered IS NOT NULL AS answered'
        " FROM places LEFT JOIN (SELECT *, true AS answered FROM answer) USING (uid, candidate)"
    )
    _check(database, policy)
    if settings.synthetic_share >= 0:
        execute(
            database, f"CREATE TABLE mixed AS {SHARE.read_text(encoding='utf-8')}", settings.model_dump(mode="json")
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
