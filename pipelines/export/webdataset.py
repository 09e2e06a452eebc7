"""webdataset: tar shards in which the members of an image stand together under its uid.

Readers take the keys and types of the first samples for those of all. So every sample has an image of the same format
and the same keys in its JSON, none of which is null.
"""

import io
import math
import tarfile
from typing import Any

import pyarrow as pa

from capfilt.core.storage import Folder
from capfilt.pipelines.export.formats import DATA, TAR, ExportLayout, records, to_json

# An MPO is a JPEG with further images behind it, and readers of webdataset do not know the name.
_ALIASES = {"mpo": "jpg"}

Members = dict[str, bytes]
"""Contents by extension."""


class WebdatasetFormat:
    """data/00000.tar, ...: `UID.jpg` (or, in all shards, `UID.png`), `UID.txt` (the best text), `UID.json`."""

    layout = ExportLayout(
        shard=f"{DATA}/{{}}.tar",
        mime=TAR,
        one_format=True,
        reader='webdataset.WebDataset("{to}/data/{{00000..LAST}}.tar").decode("pil")',
        yaml=("configs:", "- config_name: default", "  data_files: data/*.tar"),
    )

    def write(self, folder: Folder, name: str, rows: pa.Table) -> None:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for row in records(rows):
                extension, picture = row["image"]["path"].rpartition(".")[2], row["image"]["bytes"]
                members = {_ALIASES.get(extension, extension): picture, "txt": row["text"].encode(), "json": _json(row)}
                _add(tar, row["uid"], members)
        folder.write(self.layout.shard.format(name), sink.getvalue())

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        return


def _json(row: dict[str, Any]) -> bytes:
    facts = {key: row[key] for key in ("uid", "sha256", "width", "height")}
    captions = [_caption(text) for text in row["captions"]]
    return to_json({**facts, "url": row["url"] or "", "caption": row["text"], "captions": captions})


def _caption(text: dict[str, Any]) -> dict[str, Any]:
    """Without a null, which has no type in JSON: scores are one string of it, and no box is that of the whole image."""
    fixed = ("text", "source", "candidate", "box")
    scores = {name: value if math.isfinite(value or 0) else None for name, value in text.items() if name not in fixed}
    box = text["box"] or [0.0, 0.0, 1.0, 1.0]
    return {**{name: text[name] for name in fixed}, "box": box, "scores": to_json(scores).decode()}


def _add(tar: tarfile.TarFile, key: str, members: Members) -> None:
    for extension, content in members.items():
        member = tarfile.TarInfo(f"{key}.{extension}")  # time 0 and nobody's: the same bytes on every machine
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
