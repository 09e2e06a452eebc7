"""export: the kept pairs of a run, shard by shard, into a folder that needs nothing of ours to be read.

export.json stands in that folder from the beginning and says what is being written, and in the end that it is whole.
The run notes in exports/ which uids went out, before they do; so `capfilt forget` can say who has them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from capfilt.core import config, plugins
from capfilt.core.errors import ChangedError, ConfigError, IntegrityError
from capfilt.core.serialization import parquet_bytes, to_toml
from capfilt.core.storage import Folder
from capfilt.core.version import __version__
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.session import read_sessions
from capfilt.pipelines.export.card import DatasetFacts, card
from capfilt.pipelines.export.croissant import croissant
from capfilt.pipelines.export.formats import ExportFormat
from capfilt.pipelines.export.hf import ImageFolderFormat
from capfilt.pipelines.export.llava import LlavaFormat
from capfilt.pipelines.export.open_clip import OpenClipFormat
from capfilt.pipelines.export.parquet import ParquetFormat
from capfilt.pipelines.export.rows import Kept, Shard
from capfilt.pipelines.export.webdataset import WebdatasetFormat
from capfilt.pipelines.forget.lineage import EXPORTS

FORMATS: Final[Mapping[str, Callable[[], ExportFormat]]] = {
    "parquet": ParquetFormat,
    "webdataset": WebdatasetFormat,
    "hf": ImageFolderFormat,
    "llava": LlavaFormat,
    "open_clip": OpenClipFormat,
}


def format_names() -> list[str]:
    """The names that `format_named` takes."""
    return [*FORMATS, *sorted(plugins.plugins(plugins.EXPORTS))]


def format_named(name: str) -> ExportFormat:
    """A format of `FORMATS`, or one that an installed package brings (entry points of `capfilt.exports`).

    Raises:
        ConfigError: there is none of that name, or the package's cannot be loaded.
    """
    if name in FORMATS:
        return FORMATS[name]()
    brought = plugins.plugins(plugins.EXPORTS)
    if name not in brought:
        raise ConfigError(f"format {name!r} is not known; there are: {', '.join(format_names())}")
    made: ExportFormat = plugins.load(brought[name])()
    return made


MANIFEST: Final = "export.json"

SHARD_ROWS: Final = 10_000
SHARD_BYTES: Final = 100_000_000
"""What a shard holds at most, about; so much is in memory at once, and as much again while it is packed."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to."""

    images: int
    texts: int
    shards: int
    fresh: bool  # written now; else it was there already, whole


def export(
    folder: Folder,
    to: str,
    kind: str,
    form: ExportFormat,
    *,
    selection: str = "",
    settings: Mapping[str, Any] | None = None,
    shard_rows: int = SHARD_ROWS,
    on_shard: Callable[[int, int], None] = lambda done, shards: None,
) -> Exported:
    """Write what a selection of the run in `folder` keeps to `to`. An interrupted export continues with the next shard.

    Args:
        to: local path or bucket URL; empty, or with this very export.
        kind: the name of the form in `FORMATS`.
        selection: its name; "" = the current one.
        settings: further ones of the form, that make another export of it.
        shard_rows: images a shard; chunks stay whole.
        on_shard: told how many shards are done, and of how many.

    Raises:
        InputError: no run, or no selection of just its chunks that keeps anything.
        ChangedError: something else is in `to`.
        RunFailed: a server that the form needs does not answer any more.
    """
    ledger, target = Ledger(folder), Folder.at(to)
    with ledger.lock():
        kept = Kept.of(ledger, selection)
        basis = {
            "capfilt": __version__,
            "format": kind,
            "settings": {**(settings or {}), "shard_rows": shard_rows},
            "selection": hashlib.sha256(json.dumps(kept.facts, sort_keys=True).encode()).hexdigest(),
        }
        shards = kept.shards(shard_rows, SHARD_BYTES)
        done = Exported(kept.images, kept.texts, len(shards), True)
        if _is_whole(target, basis):
            return Exported(done.images, done.texts, done.shards, False)
        # From the beginning: a folder with shards of another selection is refused, not filled up.
        target.write(MANIFEST, _json({**basis, "whole": False}))
        counts = _write(kept, shards, target, form, _Record(folder, to, kind, selection), on_shard)
        form.finish(target, counts)
        facts = _facts(kept, target, form, counts)
        target.write("README.md", card(facts))
        target.write("croissant.json", croissant(facts, target))
        target.write(MANIFEST, _json({**basis, "whole": True, "images": kept.images, "texts": kept.texts}))
    return done


def _write(
    kept: Kept,
    shards: list[Shard],
    target: Folder,
    form: ExportFormat,
    record: "_Record",
    on_shard: Callable[[int, int], None],
) -> dict[str, int]:
    """Write the shards that are not there; the images in each."""
    counts: dict[str, int] = {}
    # Readers of webdataset take the format of the first sample's image for all of them.
    suffix = kept.common_suffix() if form.layout.one_format else None
    for shard in shards:
        uids = kept.uids(shard)
        # Before the shard: killed between the two, the run names uids that did not go out; the other way round,
        # `forget` would miss some that did.
        record.write(shard, uids)
        if not target.exists(form.layout.shard.format(shard.name)):
            form.write(target, shard.name, kept.read(shard, suffix))
        counts[shard.name] = len(uids)
        on_shard(len(counts), len(shards))
    return counts


@dataclass(frozen=True, slots=True)
class _Record:
    """What the run keeps of an export: exports/ID.toml, and exports/ID/SHARD.parquet with the uids."""

    folder: Folder
    to: str
    kind: str
    selection: str

    def write(self, shard: Shard, uids: pa.Array) -> None:
        """Note that the images of a shard go out."""
        name = f"{EXPORTS}/{hashlib.sha256(f'{self.kind} {self.to}'.encode()).hexdigest()[:12]}"
        if not shard.number:
            facts = {"to": self.to, "format": self.kind, "selection": self.selection}
            self.folder.write(f"{name}.toml", to_toml(facts).encode())
        table = pa.table({"uid": uids}, schema=pa.schema([pa.field("uid", pa.string(), nullable=False)]))
        self.folder.write(f"{name}/{shard.name}.parquet", parquet_bytes(table))


def _is_whole(target: Folder, basis: Mapping[str, Any]) -> bool:
    """Whether just this export is there, whole.

    Raises:
        ChangedError: something else is there.
        IntegrityError: its manifest is damaged.
    """
    if not target.exists(MANIFEST):
        if target.holds_files():
            raise ChangedError(f"--to {target.location}: holds files that are not an export; use an empty folder")
        return False
    try:
        found = dict(json.loads(target.read(MANIFEST)))
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"{target.location}/{MANIFEST} is damaged ({error}): export to an empty folder") from error
    for key, value in basis.items():
        if found.get(key) != value:  # other versions write other keys
            raise ChangedError(f"--to {target.location}: holds an export of another {key}; use an empty folder")
    return bool(found.get("whole"))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def _facts(kept: Kept, target: Folder, form: ExportFormat, counts: dict[str, int]) -> DatasetFacts:
    run, result = kept.ledger.run, kept.facts["result"]
    sessions = read_sessions(kept.ledger.folder)
    failures: dict[str, int] = {}
    for pairs in kept.ledger.records()["reasons"].to_pylist():
        for reason, count in pairs:
            failures[reason] = failures.get(reason, 0) + count
    plain = config.SelectSettings().model_dump(mode="json")
    told = {key: value for key, value in kept.facts["parameters"].items() if key == "threshold" or value != plain[key]}
    return DatasetFacts(
        name=Path(target.path).name,
        version=__version__,
        date=sessions[-1].finished[:10] if sessions else "",
        layout=form.layout,
        images=kept.images,
        texts=result["kept"],
        dropped=result["dropped"],
        failures=dict(sorted(failures.items())),
        models={_public(name): digest for name, digest in run["models"].items()},
        policy=Path(kept.facts["policy"]).stem,
        parameters=told,
        judges=tuple(kept.judges),
        shards=counts,
    )


def _public(model: str) -> str:
    """Role and name of a model, without the folder it lay in here."""
    role, _, name = model.partition(" ")
    return f"{role} {name.rstrip('/').rpartition('/')[2]}"
