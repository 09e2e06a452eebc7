"""What is wrong with a commit: its numbers against the plan and the listing, its files against their digests."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from capfilt.core.chunks import Chunk
from capfilt.core.storage import Folder

CHUNK_TABLES: Final = ("images", "captions", "failures")
"""The tables a commit writes, one file a chunk, before its record."""


def misfit(record: Mapping[str, Any], chunk: Chunk | None, spec: str, present: Mapping[str, int]) -> str:
    """How a commit record differs from the plan, its own sums and the listing of its files; "" when it does not.

    Args:
        chunk: of the plan; None = there is none of that name.
        spec: digest that the plan gives for the chunk.
        present: files of `CHUNK_TABLES` -> bytes.
    """
    if chunk is None:
        return "is not in the plan"
    rows, images, failures = record["rows"], record["images"], record["failures"]
    if rows != chunk.rows:
        return f"{rows} rows, expected {chunk.rows}"
    if rows != images + failures:
        return f"{rows} rows are not {images} images + {failures} failures"
    if sum(dict(record["reasons"]).values()) != failures:
        return f"the reasons do not add up to {failures} failures"
    if record["spec"] != spec:
        return "was made from another spec than the plan's"
    named = {f"{table}/{chunk.name}.parquet" for table in CHUNK_TABLES}
    if missing := named - (present.keys() & dict(record["files"]).keys()):
        return f"{min(missing)} is missing: `capfilt verify OUT --repair` makes it again"
    for name, size in sorted(dict(record["sizes"] or ()).items()):
        if present[name] != size:
            return f"{name} has {present[name]} bytes, committed were {size}: see `capfilt verify OUT`"
    return ""


def damage(folder: Folder, files: Mapping[str, str]) -> dict[str, str]:
    """The files that are not what was written, and what is wrong with each; reads all their bytes.

    Args:
        files: name -> sha256 of a commit record.
    """
    found = {}
    for name, digest in sorted(files.items()):
        try:
            if hashlib.sha256(folder.read(name)).hexdigest() != digest:
                found[name] = "its bytes are not the committed ones"
        except FileNotFoundError:
            found[name] = "is missing"
    return found
