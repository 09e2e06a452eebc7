"""fetch: rows that have a URL and no image get its bytes, or a reason why not."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.config import FetchSettings
from capfilt.core.schema import Reason
from capfilt.pipelines.download import Downloaded, DownloadError, download
from capfilt.pipelines.stages.row_failures import RowFailure, mark_failed

STAGE = "fetch"
NO_URL = DownloadError(Reason.NO_IMAGE, "the row has neither a URL nor an image")


def fetch(rows: pa.Table, settings: FetchSettings) -> pa.Table:
    """Download what is missing.

    Args:
        rows: `schema.ROWS`; further columns are kept. Only rows that have neither failed nor an image change.

    Returns:
        The same rows in the same order; each touched one has `image` (as sent, perhaps zero bytes or no image at
        all: that is for decode to say), or `stage` = fetch, `reason` and `detail`.
    """
    wanting = pc.and_(pc.is_null(rows["reason"]), pc.is_null(rows["image"])).to_pylist()
    if not any(wanting):
        return rows
    # Once a URL, not once a row: lists name the same image several times, and a host is asked once.
    urls = [(url or "").strip() if wants else None for url, wants in zip(rows["url"].to_pylist(), wanting, strict=True)]
    found = download(filter(None, urls), settings)
    found[""] = NO_URL
    results = [None if url is None else found[url] for url in urls]
    got = [result if isinstance(result, Downloaded) else None for result in results]
    rows = _filled(rows, "image", [one and one.body for one in got])
    rows = _filled(rows, "redirect_hosts", [one.redirect_hosts or None if one else None for one in got])
    failures = {
        row: RowFailure(STAGE, result.reason, result.detail)
        for row, result in enumerate(results)
        if isinstance(result, DownloadError)
    }
    return mark_failed(rows, failures)


def _filled(rows: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """`rows` with values where the column has none."""
    index = rows.schema.get_field_index(name)
    field = rows.schema.field(index)
    return rows.set_column(index, field, pc.coalesce(rows[name], pa.array(values, field.type)))
