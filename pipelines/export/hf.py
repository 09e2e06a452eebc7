"""Hugging Face imagefolder: plain files, and a metadata.parquet in each folder."""

from typing import Final

import pyarrow as pa

from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.pipelines.export.formats import DATA, PARQUET, ExportLayout, write_images

COLUMNS: Final = ("file_name", "text", "uid", "url", "sha256", "width", "height", "captions")


class ImageFolderFormat:
    """data/00000/UID.jpg, ... and data/00000/metadata.parquet with `file_name`, `text` (the best one) and the rest.

    Parquet, because every folder must have columns of the same types: a column of JSON without a value has none.
    """

    layout = ExportLayout(
        shard=f"{DATA}/{{}}/metadata.parquet",
        mime=PARQUET,
        reader='datasets.load_dataset("imagefolder", data_dir="{to}/data", split="train")',
        yaml=("configs:", "- config_name: default", "  data_dir: data"),
    )

    def write(self, folder: Folder, name: str, rows: pa.Table) -> None:
        write_images(folder, f"{DATA}/{name}", rows)
        paths = rows["image"].combine_chunks().field("path")
        # load_dataset reads the folders one by one and fails where a column of JSON is null in all rows of one.
        table = rows.append_column("file_name", paths).select(COLUMNS)
        folder.write(self.layout.shard.format(name), parquet_bytes(table))

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        return
