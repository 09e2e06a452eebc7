"""webdataset: tar shards in which the members of an image stand together under its uid."""

import io
import tarfile
from typing import Final

import pyarrow as pa

from capfilt.core.storage import Folder
from capfilt.pipelines.export.formats import DATA, TAR, ExportLayout, described, records, to_json

ALIASES: Final = {"mpo": "jpg"}  # a JPEG with further ones behind it, which readers of JPEG pass over

Members = dict[str, bytes]
"""Contents by extension."""


class WebdatasetFormat:
    """data/00000.tar, ...: `UID.jpg` (the original bytes, whatever they are), `UID.txt` (the best text), `UID.json`."""

    layout = ExportLayout(
        shard=f"{DATA}/{{}}.tar",
        mime=TAR,
        reader='webdataset.WebDataset("{to}/data/{{00000..LAST}}.tar").decode("pil")',
        yaml=("configs:", "- config_name: default", "  data_files: data/*.tar"),
    )

    def write(self, folder: Folder, name: str, rows: pa.Table) -> None:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for row in records(rows):
                extension, picture = self.picture(row["image"])
                members = {extension: picture, "txt": row["text"].encode(), "json": to_json(described(row))}
                _add(tar, row["uid"], members)
        folder.write(self.layout.shard.format(name), sink.getvalue())

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        return

    def picture(self, image: dict[str, bytes | str]) -> tuple[str, bytes]:
        """The extension and the bytes under which an image goes into a shard."""
        path, data = str(image["path"]), image["bytes"]
        assert isinstance(data, bytes)
        extension = path.rpartition(".")[2]
        return ALIASES.get(extension, extension), data


def _add(tar: tarfile.TarFile, key: str, members: Members) -> None:
    for extension, content in members.items():
        member = tarfile.TarInfo(f"{key}.{extension}")  # time 0 and nobody's: the same bytes on every machine
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
