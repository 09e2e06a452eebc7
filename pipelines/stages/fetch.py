"""fetch: rows that have a URL and no image get its bytes, or a reason why not."""

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.config import FetchSettings
from capfilt.core.schema import Reason
from capfilt.pipelines.download import DownloadError, download
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
    images = pa.array([result if isinstance(result, bytes) else None for result in results], pa.large_binary())
    field = rows.schema.field("image")
    rows = rows.set_column(rows.schema.get_field_index("image"), field, pc.coalesce(rows["image"], images))
    failures = {
        row: RowFailure(STAGE, result.reason, result.detail)
        for row, result in enumerate(results)
        if isinstance(result, DownloadError)
    }
    return mark_failed(rows, failures)
