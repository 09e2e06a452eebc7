"""fetch: rows that have a URL and no image get its bytes, or a reason why not."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.config import FetchSettings
from capfilt.core.schema import Reason
from capfilt.pipelines.download.byte_budget import Downloaded
from capfilt.pipelines.download.failure import DownloadError
from capfilt.pipelines.download.pool import download
from capfilt.pipelines.stages.micro_batches import AroundDeaths, BatchRows
from capfilt.pipelines.stages.row_failures import RowFailure, mark_failed, mark_poison

STAGE = "fetch"
NO_URL = DownloadError(Reason.NO_IMAGE, "the row has neither a URL nor an image")


def fetch(rows: pa.Table, settings: FetchSettings, pieces: AroundDeaths | None = None) -> pa.Table:
    """Download what is missing.

    Args:
        rows: `schema.ROWS`; further columns are kept. Only rows that have neither failed nor an image change.
        pieces: rows that killed this process are found by it, and are failures.

    Returns:
        The same rows in the same order; each touched one has `image` (as sent, perhaps zero bytes or no image at
        all: that is for decode to say), or `stage` = fetch, `reason` and `detail`.
    """
    wanting = pc.and_(pc.is_null(rows["reason"]), pc.is_null(rows["image"])).to_pylist()
    if not any(wanting):
        return rows
    urls = {row: (rows["url"][row].as_py() or "").strip() for row, wants in enumerate(wanting) if wants}
    found, dead = (pieces or AroundDeaths()).run(list(urls), _Downloads(urls, settings))
    failures = {
        row: RowFailure(STAGE, result.reason, result.detail)
        for row, result in found.items()
        if isinstance(result, DownloadError)
    }
    got = [one if isinstance(one := found.get(row), Downloaded) else None for row in range(rows.num_rows)]
    rows = _filled(rows, "redirect_hosts", [one.redirect_hosts or None if one else None for one in got])
    rows = _filled(rows, "image", [one and one.body for one in got])
    return mark_poison(mark_failed(rows, failures), STAGE, dead)


def _filled(rows: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """`rows` with values where the column has none; images are most of a chunk, and not copied needlessly."""
    index = rows.schema.get_field_index(name)
    field = rows.schema.field(index)
    filled = pa.array(values, field.type)
    if rows[name].null_count < rows.num_rows:
        filled = pc.coalesce(rows[name], filled)
    return rows.set_column(index, field, filled)


class _Downloads:
    """Downloads the URLs of some rows; all pieces of a chunk share its budget of bytes.

    Once a URL, not once a row: lists name the same image several times, and a host is asked once.
    """

    def __init__(self, urls: Mapping[int, str], settings: FetchSettings) -> None:
        self.urls, self.settings = urls, settings
        self.left = settings.chunk_bytes

    def __call__(self, rows: BatchRows) -> list[Downloaded | DownloadError]:
        settings = self.settings.model_copy(update={"chunk_bytes": self.left})
        found = download((self.urls[row] for row in rows if self.urls[row]), settings)
        self.left -= sum(len(result.body) for result in found.values() if isinstance(result, Downloaded))
        return [found.get(self.urls[row], NO_URL) for row in rows]
