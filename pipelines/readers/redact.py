"""What a plan tells of single rows, for `capfilt forget`: readers of folders and shards note names in advance."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from capfilt.core.chunks import Json, Part
from capfilt.pipelines.readers.text import clean_key

Where = dict[str, Any]


def redacted(part: Part, gone: Callable[[str], bool]) -> Part:
    """`part` without the names of the rows that are `gone`; its reader gives a forgotten row in place of each.

    Args:
        gone: whether a row with this `source` (identity + "#" + key) is to be forgotten.
    """
    where = cast(Where, part.where)
    takes_out = _TAKES_OUT.get(part.reader)
    if takes_out is None:  # no name of a row is in the plan, only where it stands in its file
        return part
    return replace(
        part, where=cast(dict[str, Json], takes_out(where, lambda key: gone(f"{part.identity}#{clean_key(key)}")))
    )


def _folder(where: Where, gone: Callable[[str], bool]) -> Where:
    names = [None if name is None or gone(name) else name for name in where["names"]]
    return where | {"names": names, "texts": {name: texts for name, texts in where["texts"].items() if name in names}}


def _webdataset(where: Where, gone: Callable[[str], bool]) -> Where:
    if "missing" in where:
        return where | {"missing": [None if key is None or gone(key) else key for key in where["missing"]]}
    return where | {"samples": [None if one is None or gone(one[0]) else one for one in where["samples"]]}


_TAKES_OUT = {"folder": _folder, "webdataset": _webdataset}
