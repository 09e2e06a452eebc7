"""fetch: rows that have a URL and no image get its bytes, or a reason why not."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.config import FetchSettings
from capfilt.core.schema import Reason
from capfilt.pipelines.download import Failure, download

STAGE = "fetch"
NO_URL = Failure(Reason.NO_IMAGE, "the row has neither a URL nor an image")


def fetch(rows: pa.Table, settings: FetchSettings) -> pa.Table:
    """Download what is missing.

    Args:
        rows: `schema.ROWS`; further columns are carried along. Only rows that are alive and have no image are touched.

    Returns:
        The same rows in the same order; each touched one has `image` (as sent, perhaps zero bytes or no picture at
        all: that is for decode to say), or `stage` = fetch, `reason` and `detail`.
    """
    wanting = pc.and_(pc.is_null(rows["reason"]), pc.is_null(rows["image"])).to_pylist()
    if not any(wanting):
        return rows
    urls = [(url or "").strip() if wants else None for url, wants in zip(rows["url"].to_pylist(), wanting, strict=True)]
    found = download(filter(None, urls), settings)
    found[""] = NO_URL
    return _filled(rows, [None if url is None else found[url] for url in urls])


def _filled(rows: pa.Table, results: Sequence[bytes | Failure | None]) -> pa.Table:
    failures = [result if isinstance(result, Failure) else None for result in results]
    new: dict[str, list[bytes | None] | list[str | None]] = {
        "image": [result if isinstance(result, bytes) else None for result in results],
        "stage": [STAGE if failure else None for failure in failures],
        "reason": [failure.reason.value if failure else None for failure in failures],
        "detail": [failure.detail if failure else None for failure in failures],
    }
    for name, values in new.items():
        index = rows.schema.get_field_index(name)
        field = rows.schema.field(index)
        rows = rows.set_column(index, field, pc.coalesce(rows[name], pa.array(values, field.type)))
    return rows
