"""Tables without a header: what their columns are, by the layout of a known list or by what stands in them."""

from collections.abc import Sequence
from typing import Final

from capfilt.pipelines.readers.rows.references import PICTURE, is_reference

YFCC: Final = (
    "photoid", "uid", "unickname", "datetaken", "dateuploaded", "capturedevice", "title", "description", "usertags",
    "machinetags", "longitude", "latitude", "accuracy", "pageurl", "downloadurl", "licensename", "licenseurl",
    "serverid", "farmid", "secret", "secretoriginal", "ext", "marker",
)  # fmt: skip
"""The columns of YFCC100M; a later edition has a line number and a hash before them."""


def is_yfcc(row: Sequence[str]) -> bool:
    """Whether a row is laid out like YFCC100M, counted from its end."""
    return len(row) in (23, 24, 25) and "license" in row[-8].lower() and all("://" in row[at] for at in (-7, -9, -10))


def made_up_header(table: Sequence[Sequence[str]]) -> list[str]:
    """Names for the columns: `url` or `path`, `text` (the longest that holds no references), else a number."""
    width = len(table[0])
    if is_yfcc(table[0]):
        return [str(column) for column in range(width - len(YFCC))] + list(YFCC)
    columns = [[row[column] for row in table] for column in range(width)]
    header = [str(column) for column in range(width)]
    scores = [(sum(map(is_reference, values)), sum(bool(PICTURE.search(one)) for one in values)) for values in columns]
    reference = scores.index(max(scores))
    header[reference] = "url" if any("://" in value for value in columns[reference]) else "path"
    others = [at for at in range(width) if at != reference and scores[at][0] <= len(table) / 2]
    if others:
        header[max(others, key=lambda at: sum(map(len, columns[at])))] = "text"
    return header
