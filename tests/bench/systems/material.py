"""Drawn images with what is said of them, and photographs, as Parquet that training reads; by name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import photographs
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from capfilt.core.schema import IMAGE, TEXT
from capfilt.demo.world.dataset import SIDE, write_pairs
from capfilt.demo.world.pairs import jpeg
from capfilt.demo.world.scene import Scene, boxes
from capfilt.demo.world.web import web_rows
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD
from capfilt.models.systems.mae.build import new_mae
from capfilt.models.systems.mae.system import SIZES
from capfilt.models.systems.parts.folder import save_folder, squash_processor

COLUMNS: Final = pa.schema([("image", IMAGE), ("captions", pa.list_(TEXT)), ("truth", pa.string())])


def material(home: Path, photos: Path | None) -> dict[str, Path]:
    """The files, written where they are not there yet."""
    names = ("train", "test", "told", "told test", "regions", "regions test", "photos", "other photos")
    files = {name: home / f"{name}.parquet" for name in names}
    if not files["regions test"].is_file():
        write_pairs(files["train"], 4000, seed=1)
        write_pairs(files["test"], 100, seed=2)
        _write(files["told"], _told(4000, 3))
        _write(files["told test"], _told(200, 4))
        _write(files["regions"], _regions(4000, 5))
        _write(files["regions test"], _regions(300, 6))
    if photos and not files["other photos"].is_file():
        photographs.write(photos, files["photos"], files["other photos"])
    files["shuffled"] = _shuffled(files["train"], "captions")
    files["told shuffled"] = _shuffled(files["told"], "captions")
    files["regions shuffled"] = _other_boxes(files["regions"])
    if photos:
        files["shuffled photos"] = _shuffled(files["photos"], "captions")
    return files


def mae_without_positions(folder: Path) -> None:
    """A new masked autoencoder to which all places are one, as a checkpoint; its positions are never trained."""
    model = new_mae(SIZES["mae-tiny"])
    with torch.no_grad():
        model.vit.embeddings.position_embeddings.zero_()
        model.decoder.decoder_pos_embed.zero_()
    save_folder(folder, model, squash_processor(int(model.config.image_size), CLIP_MEAN, CLIP_STD))


def _told(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Images with their canonical captions, of the words that `demo-language` knows."""
    for scene, row in web_rows(count, seed):
        yield _row(scene, [(row.truth, None)], row.truth)


def _regions(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Images of two things, a caption with a box of each."""
    for scene, row in web_rows(count, seed):
        if len(scene.things) == 2:
            things = [f"a {thing.size} {thing.color} {thing.shape}" for thing in scene.things]
            yield _row(scene, list(zip(things, boxes(scene), strict=True)), row.truth)


def _row(scene: Scene, said: Sequence[tuple[str, Any]], truth: str) -> dict[str, Any]:
    captions = [{"text": text, "source": "human", "box": box} for text, box in said]
    return {"image": {"bytes": jpeg(scene, SIDE), "path": ""}, "captions": captions, "truth": truth}


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), COLUMNS), path)


def _shuffled(right: Path, column: str) -> Path:
    """The same images, each with the captions of another."""
    table = pq.read_table(right)
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(3)).numpy()
    place = table.schema.get_field_index(column)
    moved = table[column].combine_chunks().take(pa.array(order))
    return _put(table.set_column(place, table.schema.field(column), moved), right)


def _other_boxes(right: Path) -> Path:
    """The same captions, in every second image each with the other one's box."""
    rows = pq.read_table(right).to_pylist()
    for row in rows[::2]:
        first, second = row["captions"]
        first["box"], second["box"] = second["box"], first["box"]
    return _put(pa.Table.from_pylist(rows, COLUMNS), right)


def _put(table: pa.Table, beside: Path) -> Path:
    out = beside.with_stem(f"{beside.stem} shuffled")
    pq.write_table(table, out)
    return out
