"""Parquet with the images inside, in the words of Hugging Face `datasets`."""

import pyarrow as pa

from capfilt.core.storage import Folder
from capfilt.pipelines.export.formats import DATA, PARQUET, ExportLayout
from capfilt.pipelines.stages.commit import table_bytes


class ParquetFormat:
    """data/00000.parquet, ...: one row an image, as in corpus/, with `url` and `sha256`."""

    layout = ExportLayout(
        shard=f"{DATA}/{{}}.parquet",
        mime=PARQUET,
        image_column=True,
        reader='datasets.load_dataset("parquet", data_files="{to}/data/*.parquet", split="train")',
        yaml=("configs:", "- config_name: default", "  data_files: data/*.parquet"),
    )

    def write(self, folder: Folder, name: str, rows: pa.Table) -> None:
        folder.write(self.layout.shard.format(name), table_bytes(rows))

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        return
