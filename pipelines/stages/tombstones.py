"""Tombstones: what was forgotten on request, and what later runs of the same OUT must therefore skip.

OUT/forgotten.json holds keyed hashes (HMAC-SHA256 under a random key of this OUT) of URLs, domains, uids and digests,
never the values themselves. Anyone with the file can still test a guess against it, so do not publish it with a run; no
export contains it.
"""

import hmac
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core import schema
from capfilt.core.errors import ConfigError
from capfilt.core.storage import Folder
from capfilt.pipelines.download.canonical_url import canonical, canonical_host, host_of, older_canonical, older_host
from capfilt.pipelines.stages.row_failures import RowFailure, mark_failed

NAME: Final = "forgotten.json"
STAGE: Final = "forget"
SOURCE: Final = "forgotten"
"""`source` of a forgotten row: not even its place in the input may remain."""

KINDS: Final = ("url", "sha256", "uid", "domain")


@dataclass(frozen=True)
class Tombstones:
    """The contents of forgotten.json.

    Args:
        key: hex; random, of this OUT.
        asked: hashes of what was named in requests; kept for ever.
        pending: hashes of the uids and sources that an unfinished `forget` has still to remove; else empty.
        before: `Ledger.fingerprint` when that began.
    """

    key: str = ""
    asked: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    before: str = ""

    @classmethod
    def of(cls, folder: Folder) -> Self:
        """The tombstones of a run's folder; empty where there was no request."""
        if not folder.exists(NAME):
            return cls()
        found = json.loads(folder.read(NAME))
        return cls(found["key"], frozenset(found["asked"]), frozenset(found["pending"]), found["before"])

    def write(self, folder: Folder) -> None:
        """Write forgotten.json."""
        sets = {"asked": sorted(self.asked), "pending": sorted(self.pending)}
        folder.write(NAME, json.dumps({"key": self.key, **sets, "before": self.before}, indent=1).encode() + b"\n")

    def hash(self, kind: str, value: str) -> str:
        """The keyed hash that stands for a value, 32 hex digits."""
        # What is typed on a command line need not be UTF-8; Python has it as lone surrogates.
        message = f"{kind}:{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, message, "sha256").hex()[:32]

    @cached_property
    def _secret(self) -> bytes:
        return bytes.fromhex(self.key)

    def covers(self, uid: str, url: str | None, sha256: str | None, hosts: Iterable[str] | None = None) -> bool:
        """Whether a request covers this row; `hosts` are those that redirects led to."""
        return any(self.hash(kind, value) in self.asked for kind, value in names_of(uid, url, sha256, hosts))

    def apply(self, rows: pa.Table) -> pa.Table:
        """`rows` (`schema.ROWS`, perhaps with facts) in which every row that is to be forgotten is a failure."""
        if not self.asked:
            return rows
        digests = rows["sha256"].to_pylist() if "sha256" in rows.column_names else [None] * rows.num_rows
        uids, urls, hosts = (rows[name].to_pylist() for name in ("uid", "url", "redirect_hosts"))
        keys = zip(uids, urls, digests, hosts, strict=True)
        failure = RowFailure(STAGE, schema.Reason.FORGOTTEN)
        failures = {
            row: failure
            for row, (reason, key) in enumerate(zip(rows["reason"].to_pylist(), keys, strict=True))
            if reason == schema.Reason.FORGOTTEN or self.covers(*key)
        }
        return mark_failed(rows, failures)

    def anonymize(self, failures: pa.Table) -> pa.Table:
        """`schema.FAILURES` with nothing left of its forgotten rows but a keyed hash; they come last, by that hash."""
        gone = pc.equal(failures["reason"], schema.Reason.FORGOTTEN).fill_null(False)
        told, forgotten = failures.filter(pc.invert(gone)), failures.filter(gone)
        marks = [
            uid if source == SOURCE else self.hash("uid", uid)
            for uid, source in zip(forgotten["uid"].to_pylist(), forgotten["source"].to_pylist(), strict=True)
        ]
        return pa.concat_tables([told, tombstone_rows(marks)]).combine_chunks()


def tombstone_rows(marks: Iterable[str]) -> pa.Table:
    """`schema.FAILURES` of forgotten rows; `marks` are the hashes that stand in place of their uids."""
    common = {"source": SOURCE, "stage": STAGE, "reason": schema.Reason.FORGOTTEN.value, "retryable": False}
    return pa.Table.from_pylist([{"uid": mark, **common} for mark in sorted(marks)], schema=schema.FAILURES)


def names_of(
    uid: str, url: str | None, sha256: str | None, hosts: Iterable[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Every name a request may use for a row, as (kind, value); `hosts` are those that redirects led to."""
    yield "uid", uid
    if sha256:
        yield "sha256", sha256
    if url:
        # Version 0.1 spelled URLs and hosts in another way; requests that it stored must still be found.
        for spelling in {canonical(url), older_canonical(url)}:
            yield "url", spelling
    for host in {*(hosts or ()), *((host_of(url), older_host(url)) if url else ())} - {""}:
        # A request for example.org covers img.example.org too.
        labels = host.split(".")
        yield from (("domain", ".".join(labels[start:])) for start in range(len(labels)))


def read_name(kind: str, value: str) -> str:
    """A value as a person typed it, in the form in which rows have it.

    Raises:
        ConfigError: it cannot be one; names the option.
    """
    text = value.strip()
    if kind == "url":
        return canonical(text)
    if kind == "domain":
        try:
            host = canonical_host(text)
        except ValueError:
            host = ""
        if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", host):
            raise ConfigError(f"--domain {value!r}: expected a host name such as example.org")
        return host
    digits = {"uid": 32, "sha256": 64}[kind]
    if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", text.lower()):
        raise ConfigError(f"--{kind} {value!r}: expected {digits} hex digits")
    return text.lower()
