"""`select.where`: a condition in SQL over the columns of a text and of its image, which a kept text must meet."""

from typing import Final

import duckdb

from capfilt.core import duckdb_sandbox
from capfilt.core.errors import ConfigError

REASON: Final = "flag: where"
"""Why a text that does not meet it is dropped."""


def create_meets(
    connection: duckdb.DuckDBPyConnection, where: str, captions: str = "candidates", images: str = "images"
) -> None:
    """Create the table `meets`: uid (as 128 bits) and candidate of the texts for which the condition is true.

    The condition may say `captions.itm` and `images.width`, or the bare names where only one of them has it.

    Args:
        captions, images: the tables with the columns of captions/ and images/ and of their layers.

    Raises:
        ConfigError: it is no condition over these columns.
    """
    found = meets_sql(where, captions, images)
    try:
        statements = connection.extract_statements(found)
        if len(statements) != 1 or not duckdb_sandbox.reads_only(connection, statements[0].query):
            raise ConfigError(f"select.where = {where!r}: must be one condition")
        connection.execute(f"CREATE TABLE meets AS {statements[0].query}")
    except duckdb.Error as error:
        raise ConfigError(f"select.where = {where!r}: {duckdb_sandbox.one_line(error)}") from error


def meets_sql(where: str, captions: str = "candidates", images: str = "images") -> str:
    """The SELECT behind `create_meets`."""
    # The condition on lines of its own: it may end in a comment.
    return (
        f"SELECT captions.uid::UUID AS uid, captions.candidate AS candidate FROM {captions} captions"
        f" JOIN {images} images ON images.uid = captions.uid WHERE (\n{where}\n)"
    )
