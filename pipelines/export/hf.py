"""Hugging Face imagefolder: plain files, and a metadata.jsonl in each folder."""

import pyarrow as pa

from capfilt.core.storage import Folder
from capfilt.pipelines.export.formats import DATA, LINES, ExportLayout, described, records, to_json, write_images


class ImageFolderFormat:
    """data/00000/UID.jpg, ... and data/00000/metadata.jsonl with `file_name`, `text` (the best one) and the rest."""

    layout = ExportLayout(
        shard=f"{DATA}/{{}}/metadata.jsonl",
        mime=LINES,
        reader='datasets.load_dataset("imagefolder", data_dir="{to}/data", split="train")',
        yaml=("configs:", "- config_name: default", "  data_dir: data"),
    )

    def write(self, folder: Folder, name: str, rows: pa.Table) -> None:
        write_images(folder, f"{DATA}/{name}", rows)
        lines = [to_json(_line(row)) + b"\n" for row in records(_without_bytes(rows))]
        folder.write(self.layout.shard.format(name), b"".join(lines))

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        return


def _line(row: dict[str, object]) -> dict[str, object]:
    # Every line has the same keys, whatever the number of texts: `datasets` takes the columns of the first one.
    facts = {key: value for key, value in described(row).items() if not key.startswith("caption_") and key != "caption"}
    return {"file_name": row["path"], "text": row["text"], **facts}


def _without_bytes(rows: pa.Table) -> pa.Table:
    paths = rows["image"].combine_chunks().field("path")
    return rows.drop_columns(["image"]).append_column("path", paths)
