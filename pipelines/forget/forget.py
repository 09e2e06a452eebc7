"""forget: the rows of a URL, an image, a uid or a whole domain leave every file of a run, and do not come back.

First it is written down what is to go (as hashes, see `tombstones`), then it goes (see `erase`). In failures/ a row
of the reason `forgotten` takes the place of each, so that a run still balances; nothing of the row is left in it but
a hash that stands where its uid was.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from capfilt.core import schema
from capfilt.core.errors import ConfigError
from capfilt.core.storage import Folder
from capfilt.ledger.joined import texts_dataset
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.transaction import replay_pending
from capfilt.pipelines.forget.erase import DERIVED, erase
from capfilt.pipelines.forget.lineage import SEARCHED, Usage, files_naming, input_files, trace_usage
from capfilt.pipelines.stages.tombstones import KINDS, SOURCE, Tombstones, names_of, read_name

Name = tuple[str, str]
"""A kind of `tombstones.KINDS`, and a value as rows have it."""


@dataclass(frozen=True, slots=True)
class MatchedRow:
    """A row that was asked for."""

    uid: str
    url: str | None
    source: str
    sha256: str | None = None  # None: it is a failure
    redirect_hosts: list[str] | None = None

    @property
    def names(self) -> set[Name]:
        """Every name by which it may be asked for."""
        return set(names_of(self.uid, self.url, self.sha256, self.redirect_hosts))

    @property
    def names_before_fetch(self) -> set[Name]:
        """Those that are known without asking its server again."""
        return set(names_of(self.uid, self.url, None))


@dataclass(slots=True, kw_only=True)
class Forgotten:
    """What was, or would be, taken out."""

    images: int
    failures: int
    texts: dict[str, int]  # by source
    used_by: list[Usage]
    inputs: dict[str, int]  # the input files the rows came from, which are left as they are, and how many of each
    named_in: list[str]  # other files under OUT that name some of them, and are left as they are
    same_bytes: dict[str, int]  # by sha256 the images that stay and have the bytes of one that goes
    finished: bool = False  # what an interrupted forget had left was taken out first


def forget(folder: Folder, names: Sequence[tuple[str, str]], dry_run: bool = False) -> Forgotten:
    """Take all rows of the names out of a run, for ever.

    Args:
        names: (kind of `KINDS`, value as typed); none only finishes what an interrupted forget began.
        dry_run: only look what there is.

    Raises:
        ConfigError: no name where nothing is unfinished, or one that cannot be; names the option.
        InputError: there is no run here.
        IntegrityError: the run's records do not fit together, so nothing is touched.
    """
    ledger = Ledger(folder)
    wanted = {(kind, read_name(kind, value)) for kind, value in names}
    _ = ledger.run  # raises where there is none
    if dry_run:
        return _look(ledger, _matches(ledger, wanted))
    with ledger.lock():
        finished = finish_forgetting(ledger)
        if not (wanted or finished):
            raise ConfigError(f"nothing to forget: give {', '.join(f'--{kind}' for kind in KINDS)}")
        replay_pending(folder)  # what a killed retry left would else be put in the place of what is left here
        ledger = Ledger(folder)
        ledger.balance()
        rows = _matches(ledger, wanted)
        found = _look(ledger, rows)
        if wanted:
            erase(folder, _write_down(ledger, wanted, rows))
    found.finished = finished
    return found


def finish_forgetting(ledger: Ledger) -> bool:
    """Finish what an interrupted forget began; whether there was anything. To be called with the folder locked."""
    stones = Tombstones.of(ledger.folder)
    if stones.before:
        erase(ledger.folder, stones)
        ledger.reread()
    return bool(stones.before)


def _write_down(ledger: Ledger, wanted: Iterable[Name], rows: Sequence[MatchedRow]) -> Tombstones:
    """Write down what is to go, before anything does."""
    stones = Tombstones.of(ledger.folder)
    stones = stones if stones.key else Tombstones(secrets.token_hex(32))
    wanted = set(wanted)
    # The uid as well, where a row would have to be fetched again to be recognized: by its digest, or a redirect's host.
    asked = wanted | {("uid", row.uid) for row in rows if wanted.isdisjoint(row.names_before_fetch)}
    pending = {name for row in rows for name in (("uid", row.uid), ("source", row.source))}
    stones = replace(
        stones,
        asked=stones.asked | {stones.hash(*name) for name in asked},
        pending=frozenset(stones.hash(*name) for name in pending),
        before=ledger.fingerprint(),
    )
    stones.write(ledger.folder)
    return stones


def _matches(ledger: Ledger, wanted: set[Name]) -> list[MatchedRow]:
    """The rows of images/ and failures/ that one of the names means."""
    columns = ["uid", "url", "source", "sha256", "redirect_hosts"]
    images = ledger.dataset("images", schema.IMAGES).to_batches(columns=columns)
    failures = ledger.dataset("failures", schema.FAILURES).to_batches(columns=["uid", "url", "source"])
    every = (MatchedRow(*values) for batch in chain(images, failures) for values in _values(batch))
    return [row for row in every if row.source != SOURCE and not wanted.isdisjoint(row.names)]


def _values(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _look(ledger: Ledger, rows: Sequence[MatchedRow]) -> Forgotten:
    """What there is of the rows, and who used them."""
    folder, names = ledger.folder, ledger.folder.tree()
    uids = pa.array([row.uid for row in rows], pa.string())
    images = [row for row in rows if row.sha256 is not None]
    texts = texts_dataset(ledger).to_table(["source"], ds.field("uid").isin(uids))
    others = [name for name in names if not name.endswith((".parquet", ".lock")) and name not in DERIVED]
    # Every file is searched for every word.
    words = [word for row in rows[:SEARCHED] for word in (row.uid, row.url, row.sha256) if word]
    return Forgotten(
        images=len(images),
        failures=len(rows) - len(images),
        texts=dict(sorted(Counter(texts["source"].to_pylist()).items())),
        used_by=list(trace_usage(folder, names, uids)),
        inputs=input_files(ledger, [row.source for row in rows]),
        named_in=files_naming(folder, others, words),
        same_bytes=_same_bytes(ledger, uids, {row.sha256 for row in images}),
    )


def _same_bytes(ledger: Ledger, uids: pa.Array, digests: set[str | None]) -> dict[str, int]:
    """Images that stay and have the bytes of one that goes, by digest."""
    same = ds.field("sha256").isin(pa.array(digests, pa.string())) & ~ds.field("uid").isin(uids)
    left = ledger.dataset("images", schema.IMAGES).to_table(columns=["sha256"], filter=same)
    return dict(sorted(Counter(left["sha256"].to_pylist()).items()))
