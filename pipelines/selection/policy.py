"""Policies: one SQL file each, which decides over all captions at once what is kept.

A policy is one SELECT over `captions` that gives for every row of it exactly one row `uid, candidate, keep, rank,
reason`: `rank` counts the kept texts of an image 1, 2, ... (best first) and is null for dropped ones, `reason` says
why. `captions` is `schema.captions_schema`, with the scores under the names of `scores.NAMED` beside it, and without
the texts that a flag has ruled out (`capfilt.pipelines.selection.text_rules`); `images` has the columns of images/ and
of its layers. Parameters are the settings of `config.SelectSettings`, such as `$threshold`.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from capfilt.core import duckdb_sandbox, schema
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ConfigError
from capfilt.pipelines.selection.condition import create_meets, meets_sql
from capfilt.pipelines.selection.policies import POLICIES, policy_names
from capfilt.pipelines.selection.scores import MIX, Knots, Mix, define_probabilities, missing_scores, named_scores
from capfilt.pipelines.selection.text_rules import rule_parameters


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file as it was read."""

    name: str  # as the recipe names it
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


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


def check_policy(settings: SelectSettings, judges: Sequence[str]) -> None:
    """Make sure that a policy can be used on a run with these judges' columns, without looking at any row.

    Raises:
        ConfigError: no such policy, a score that no judge gives, wrong SQL, a condition over columns that a new run
            has not, or a banned pattern that is none.
    """
    policy, nothing = read_policy(settings.policy), schema.captions_schema(tuple(judges)).empty_table()
    plain = settings.model_copy(update={"calibrated": False})  # what is calibrated can be known only later
    rule_parameters(settings)
    with duckdb_sandbox.connect({"candidates": nothing, "images": schema.IMAGES.empty_table()}) as connection:
        show_captions(connection, judges, plain)
        if settings.where:
            create_meets(connection, settings.where)
        answer(connection, policy, plain, judges)


def reads_images(policy: Policy, settings: SelectSettings) -> bool:
    """Whether a selection may look at images/, which a run can do without once it is decided."""
    return bool(settings.where or re.search(r"\bimages\b", policy.sql, re.IGNORECASE))


def columns_read(
    columns: pa.Schema,
    images: pa.Schema,
    judges: Sequence[str],
    knots: Knots,
    mix: Mix | None,
    policy: Policy,
    settings: SelectSettings,
) -> list[str]:
    """The columns of captions/ that a selection reads, as DuckDB plans it; all of them where it makes no plan.

    Args:
        columns: of captions/.
        images: those of images/.
        knots: of the calibrated scores.
    """
    tables = {"candidates": columns.empty_table(), "images": images.empty_table()}
    with duckdb_sandbox.connect(tables) as connection:
        define_probabilities(connection, settings, knots)
        show_captions(connection, judges, settings, mix=mix)
        asked = [policy.sql, *([meets_sql(settings.where)] if settings.where else [])]
        try:
            told = "".join(_scans(connection, sql, settings) for sql in asked)
        except (duckdb.Error, ValueError, KeyError):  # `answer` and `create_meets` say what is wrong
            return list(columns.names)
    # Wherever a name stands: a filter is no projection.
    return [name for name in columns.names if not told or json.dumps(name)[1:-1] in told]


def _scans(connection: duckdb.DuckDBPyConnection, sql: str, settings: SelectSettings) -> str:
    """What DuckDB would read for a statement, as JSON; "" = nothing is told."""
    (statement,) = connection.extract_statements(sql)
    given = settings.model_dump(mode="json")
    given = {name: given[name] for name in statement.named_parameters}
    (explain,) = connection.extract_statements(f"EXPLAIN (FORMAT json) {statement.query}")
    plan = connection.execute(explain, given).fetchall()[0][1]
    scans = [node["extra_info"] for node in _nodes(json.loads(plan)) if "SCAN" in node["name"]]
    return json.dumps(scans) if scans else ""


def _nodes(plan: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in plan:
        yield node
        yield from _nodes(node["children"])


def show_captions(
    connection: duckdb.DuckDBPyConnection,
    judges: Sequence[str],
    settings: SelectSettings,
    table: str = "candidates",
    mix: Mix | None = None,
) -> None:
    """Create the view `captions` over a table with the columns of captions/."""
    mixed = [f"{mix.sql} AS {MIX}"] if mix else []
    columns = ", ".join(["c.*", *mixed, *named_scores(judges, settings)])
    connection.execute(f"CREATE VIEW captions AS SELECT {columns} FROM {table} c")


def answer(
    connection: duckdb.DuckDBPyConnection, policy: Policy, settings: SelectSettings, judges: Sequence[str]
) -> None:
    """Create the table `answer`: what the policy says of `captions`; uid as 128 bits, which takes half the room.

    Raises:
        ConfigError: wrong SQL, a score that no judge gives, other columns than those of a policy.
    """
    try:
        # By DuckDB's own parser: whether a text holds one SELECT cannot be told by looking for semicolons.
        statements = connection.extract_statements(policy.sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ConfigError(f"policy {policy.name}: must be one SELECT")
        if not duckdb_sandbox.reads_only(connection, statements[0].query):
            raise ConfigError(f"policy {policy.name}: must be one SELECT, with nothing but SELECT in it")
        parameters = settings.model_dump(mode="json")
        if unknown := sorted(statements[0].named_parameters - parameters.keys()):
            raise ConfigError(f"policy {policy.name}: parameter ${unknown[0]} is not a setting of [select]")
        body = statements[0].query.strip().rstrip(";")
        # On lines of its own, for a policy may end in a comment, which would take the bracket with it.
        given = [row[0] for row in execute(connection, f"DESCRIBE (\n{body}\n)", parameters).fetchall()]
        if sorted(given) != sorted(schema.DECISIONS.names):
            wanted = ", ".join(schema.DECISIONS.names)
            raise ConfigError(f"policy {policy.name}: gives the columns {', '.join(given)}; expected {wanted}")
        typed = (
            "uid::UUID AS uid, candidate::INTEGER AS candidate, keep::BOOLEAN AS keep, rank::INTEGER AS rank,"
            " reason::VARCHAR AS reason"
        )
        execute(connection, f"CREATE TABLE answer AS SELECT {typed} FROM (\n{body}\n)", parameters)
    except duckdb.Error as error:
        raise _in_words(error, policy, settings, judges) from error


def execute(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """Execute one statement with those of the parameters that it uses; DuckDB takes no others."""
    (statement,) = connection.extract_statements(sql)
    return connection.execute(statement, {name: parameters[name] for name in statement.named_parameters})


def _in_words(error: duckdb.Error, policy: Policy, settings: SelectSettings, judges: Sequence[str]) -> ConfigError:
    """DuckDB's error in one line; of a score that no judge gives, in words that name the setting."""
    kind = "calibrated scores" if settings.calibrated else "scores"
    known = f"{kind} of this run: {', '.join(judges) or 'none'}"
    if not isinstance(error, duckdb.BinderException):
        return ConfigError(f"policy {policy.name}: {duckdb_sandbox.one_line(error)}")
    if f'"{MIX}"' in str(error) and MIX not in judges:
        return ConfigError(f"policy {policy.name}: there is no {MIX} of scores yet: run `capfilt calibrate` first")
    for setting, name in missing_scores(judges, settings).items():
        if f'"{setting}"' in str(error):
            return ConfigError(f"policy {policy.name}: select.{setting}: there is no {name!r}; {known}")
    return ConfigError(f"policy {policy.name}: {duckdb_sandbox.one_line(error)} ({known})")
