"""Policies: one SQL file each, which decides over all captions at once what is kept.

A policy is one SELECT over the table `captions` (`schema.captions_schema`) that gives for every candidate exactly one
row `uid, candidate, keep, rank, reason`: `rank` counts the kept texts of an image 1, 2, ... (best first) and is null
for dropped ones, `reason` says why. Its parameters are the other settings of `config.Select`: `$threshold`.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from capfilt import sandbox, schema
from capfilt.errors import ConfigError, Unbalanced
from capfilt.ledger import Ledger

POLICIES: Final = Path(__file__).parent / "policies"

CHECKS: Final = (
    (
        "leaves candidates out",
        "SELECT uid, candidate FROM places ANTI JOIN decided USING (uid, candidate)",
    ),
    (
        "makes candidates up",
        "SELECT uid, candidate FROM decided ANTI JOIN places USING (uid, candidate)",
    ),
    (
        "decides candidates more than once",
        "SELECT uid, candidate FROM decided GROUP BY ALL HAVING count(*) > 1",
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
"""What a policy may do wrong, each with the SQL that finds an example."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file as it was read."""

    name: str  # as the recipe names it
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def policy_names() -> list[str]:
    """Names of the policies that ship."""
    return sorted(path.stem for path in POLICIES.glob("*.sql"))


def read_policy(name_or_path: str) -> Policy:
    """A policy by name, or by the path of a .sql file.

    Raises:
        ConfigError: no such policy.
    """
    path = POLICIES / f"{name_or_path}.sql"
    if not path.is_file():
        path = Path(name_or_path)
    if path.suffix != ".sql" or not path.is_file():
        known = ", ".join(policy_names())
        raise ConfigError(f"select.policy = {name_or_path!r} is neither a .sql file nor one of: {known}")
    return Policy(name_or_path, path.read_text(encoding="utf-8", errors="replace"))


@contextmanager
def decide(ledger: Ledger, policy: Policy, parameters: dict[str, Any]) -> Iterator[Iterator[tuple[str, pa.Table]]]:
    """Run and check a policy, then give each chunk's name and `schema.DECISIONS`, in the order of captions/.

    Raises:
        ConfigError: the policy does not decide every candidate once; names the policy.
    """
    captions = ledger.dataset("captions", ledger.captions_schema())
    with sandbox.connect({"captions": captions, "place_reader": _places(captions)}) as connection:
        connection.execute("CREATE TABLE places AS FROM place_reader")
        _run_policy(connection, policy, parameters)
        ordered = connection.sql(
            "SELECT uid, candidate, keep, rank, reason FROM places JOIN decided USING (uid, candidate) ORDER BY place"
        )
        yield _by_chunk(ledger, ordered.to_arrow_reader(100_000))


def _places(captions: Any) -> pa.RecordBatchReader:
    """uid and candidate with the position in captions/, by which decisions find back to their chunk."""
    columns = pa.schema([("uid", pa.string()), ("candidate", pa.int32()), ("place", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in captions.to_batches(columns=["uid", "candidate"]):
            places = pa.array(np.arange(start, start + batch.num_rows))
            yield pa.record_batch([batch["uid"], batch["candidate"], places], schema=columns)
            start += batch.num_rows

    return pa.RecordBatchReader.from_batches(columns, batches())


def _run_policy(connection: duckdb.DuckDBPyConnection, policy: Policy, parameters: dict[str, Any]) -> None:
    twice = connection.execute("SELECT uid FROM places GROUP BY uid, candidate HAVING count(*) > 1 LIMIT 1").fetchone()
    if twice:
        raise Unbalanced(f"image {twice[0]} is committed by two chunks")
    if not connection.execute("FROM places LIMIT 1").fetchone():
        # No image, so no judge ever spoke: the policy's columns are not there, and not needed.
        connection.execute(
            "CREATE VIEW decided AS SELECT uid, candidate, true AS keep, 1 AS rank, '' AS reason FROM places"
        )
        return
    try:
        _create_decided(connection, policy, parameters)
        for fault, example in CHECKS:
            if found := connection.execute(f"{example} LIMIT 1").fetchone():
                raise ConfigError(f"policy {policy.name} {fault}, such as candidate {found[1]} of image {found[0]}")
    except duckdb.Error as error:
        raise ConfigError(f"policy {policy.name}: {sandbox.one_line(error)}") from error


def _create_decided(connection: duckdb.DuckDBPyConnection, policy: Policy, parameters: dict[str, Any]) -> None:
    statements = connection.extract_statements(policy.sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ConfigError(f"policy {policy.name}: must be one SELECT")
    unknown = sorted(statements[0].named_parameters - parameters.keys())
    if unknown:
        raise ConfigError(f"policy {policy.name}: parameter ${unknown[0]} is not a setting of [select]")
    used = {name: parameters[name] for name in statements[0].named_parameters}
    body = statements[0].query.strip().rstrip(";")
    connection.execute(f"CREATE TABLE answer AS (\n{body}\n)", used)
    given = connection.table("answer").columns
    if sorted(given) != sorted(schema.DECISIONS.names):
        wanted = ", ".join(schema.DECISIONS.names)
        raise ConfigError(f"policy {policy.name}: gives the columns {', '.join(given)}; wanted are {wanted}")
    connection.execute(
        "CREATE VIEW decided AS SELECT uid::VARCHAR AS uid, candidate::INTEGER AS candidate, keep::BOOLEAN AS keep,"
        " rank::INTEGER AS rank, reason::VARCHAR AS reason FROM answer"
    )


def _by_chunk(ledger: Ledger, reader: pa.RecordBatchReader) -> Iterator[tuple[str, pa.Table]]:
    rest = reader.schema.empty_table()
    records = ledger.records()
    for chunk, size in zip(records["chunk"].to_pylist(), records["captions"].to_pylist(), strict=True):
        while rest.num_rows < size:
            rest = pa.concat_tables([rest, pa.Table.from_batches([reader.read_next_batch()])])
        yield chunk, rest.slice(0, size).cast(schema.DECISIONS)
        rest = rest.slice(size)
