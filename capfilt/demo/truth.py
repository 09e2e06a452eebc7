"""What is true of every row of the demo, by its uid."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa
from yarl import URL

from capfilt.core import schema
from capfilt.demo.world.site import Page
from capfilt.ledger.ledger import Ledger

TRUTH: Final = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # the canonical caption, right by `capfilt.demo.world.is_right`
        pa.field("web_right", pa.bool_(), nullable=False),  # whether the web text is
        pa.field("url", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # how the web text came about: paraphrase, swapped, ...
        pa.field("trouble", pa.string(), nullable=False),  # what the web site did: none, gone, slow, ...
    ]
)
"""The table truth.parquet: one row an input row, in the order of the list."""


def truth_table(out: Path, site: Sequence[Page]) -> pa.Table:
    """`TRUTH` of a finished run over the site's pages; the run's own tables say which uid a URL got.

    Pages that `capfilt forget` took out of the run are not in it.
    """
    ledger = Ledger.at(out)
    tables = (ledger.dataset(name, columns) for name, columns in _WITH_URLS.items())
    rows = [row for table in tables for row in table.to_table(columns=["uid", "url"]).to_pylist()]
    known = {PurePosixPath(URL(row["url"]).path).name: row for row in rows if row["url"]}
    return pa.Table.from_pylist([_row(page, known[page.name]) for page in site if page.name in known], schema=TRUTH)


def _row(page: Page, row: dict[str, str]) -> dict[str, str | bool]:
    return {
        "uid": row["uid"],
        "text": page.row.truth,
        "web_right": page.row.right,
        "url": row["url"],
        "kind": page.row.kind,
        "trouble": page.trouble.value,
    }


_WITH_URLS: Final = {"images": schema.IMAGES, "failures": schema.FAILURES}
