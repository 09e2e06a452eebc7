"""webdataset shards: .tar files whose members belong together by key."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, cast

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.core.errors import ConfigError, InputError, IntegrityError
from capfilt.core.schema import Reason
from capfilt.pipelines.readers import tar
from capfilt.pipelines.readers.base import (
    MAX_IMAGE_BYTES,
    Broken,
    InputFile,
    Lost,
    Row,
    batches,
    broken_part,
    forgotten_row,
    make_part,
    raw_table,
)
from capfilt.pipelines.readers.columns import Names, find
from capfilt.pipelines.readers.files import open_file
from capfilt.pipelines.readers.layout import entries, layout_of
from capfilt.pipelines.readers.samples import fields_in, kind_of, split_name, texts_in, url_in
from capfilt.pipelines.readers.text import clean_line

_MAX_TEXT_FILE: Final = 16_000_000
_SAMPLE: Final = 20
_TEXTS: Final = ("text", "json")

Texts = dict[str, list[str]]
"""Captions of a sidecar by the name of the member they are about."""


@dataclass(slots=True)
class Sample:
    """The members of one key."""

    key: str
    name: str = ""  # of the image, as it stands in the archive
    size: int = 0
    members: list[tuple[str, int]] = field(default_factory=list)  # extension, offset of the header block

    def takes(self, extension: str) -> bool:
        """Whether a member of this extension belongs here: each one once, and one image a sample."""
        has_image = any(kind_of(known) == "image" for known, _ in self.members)
        is_second = has_image and kind_of(extension) == "image"
        return not is_second and extension not in (known for known, _ in self.members)

    def to_json(self) -> Json:
        """For `Part.where`."""
        return [self.key, self.name, [[extension, offset] for extension, offset in self.members]]


class WebdatasetReader:
    """One sample a row, wherever its members stand; the key is the webdataset key.

    `where` holds the offset of every member, so that a chunk is read without walking the archive again. Behind the
    samples come the rows of the sidecar that name no member, and one row if the archive breaks off.
    """

    name = "webdataset"

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        with open_file(file.location) as stream:
            samples, damage = _group(stream)
            _check_text(stream, samples, file, settings)
        if not samples and damage:
            raise InputError(f"{file.location}: {damage}")
        common: dict[str, Json] = {"text": settings.text, "sidecar": file.sidecar}
        start = 0
        for group, size in batches(((sample, sample.size) for sample in samples), settings):
            listed: list[Json] = [sample.to_json() for sample in group]
            yield make_part(file, start, len(group), **common, bytes=size, samples=listed)
            start += len(group)
        for names, _ in batches(((name, 0) for name in _unmatched(file.sidecar, samples)), settings):
            yield make_part(file, start, len(names), missing=cast(Json, names))
            start += len(names)
        if damage:
            yield broken_part(file, start, damage)

    def read(self, part: Part) -> pa.Table:
        where = cast(dict[str, Any], part.where)
        if "missing" in where:
            lost = where["missing"][: part.rows]
            return raw_table(_missing(key) if key else forgotten_row(part, n) for n, key in enumerate(lost))
        sidecar = sidecar_texts(where["sidecar"], where["text"]) if where["sidecar"] else {}
        with open_file(part.file) as stream:
            archive = _Archive(stream, part.file)
            return raw_table(
                _row(archive, sidecar, where["text"], *sample) if sample else forgotten_row(part, number)
                for number, sample in enumerate(where["samples"][: part.rows])
            )


def _missing(key: str) -> Row:
    return Row(key, reason=Reason.MISSING_FILE, detail=f"no such member: {key}")


def sidecar_texts(location: str, name: str = "auto") -> Texts:
    """The captions that a CSV gives to members of the shard beside it; `name` is the recipe's `input.text`.

    Raises:
        ConfigError, InputError: it is no list of file names and texts.
    """
    layout = layout_of(location, config.InputSettings())
    names = Names(text=name if name in (*layout.header, "none") else "auto")
    texts: Texts = {}
    for entry in entries(location, layout):
        if not isinstance(entry, ValueError) and (path := find(entry, names).path):
            texts.setdefault(path.removeprefix("./"), []).extend(find(entry, names).texts)
    return texts


def _group(stream: io.BufferedIOBase) -> tuple[list[Sample], str | None]:
    """Samples in the order of their first members, and what is wrong with the archive, if anything.

    A key that comes again with a member that its sample already has opens a new sample, named `key#2`.
    """
    latest: dict[str, Sample] = {}
    samples: list[Sample] = []
    keys: set[str] = set()
    try:
        for member in tar.members(stream):
            key, extension = split_name(_clean(member.name))
            if _is_hidden(key):
                continue
            if key not in latest or not latest[key].takes(extension):
                latest[key] = Sample(_unique(key, keys))
                samples.append(latest[key])
            _add(latest[key], member, extension)
    except Broken as broken:
        return samples, str(broken)
    return samples, None


def _add(sample: Sample, member: tar.Member, extension: str) -> None:
    sample.members.append((extension, member.data - tar.BLOCK))
    if kind_of(extension) == "image":
        sample.name, sample.size = _clean(member.name), member.size


def _clean(name: str) -> str:
    return clean_line(name).removeprefix("./")


def _is_hidden(key: str) -> bool:
    base = key.rpartition("/")[2]
    return not base or (base.startswith("__") and base.endswith("__")) or "__MACOSX/" in key


def _unique(key: str, keys: set[str]) -> str:
    name, number = key, 1
    while name in keys:
        number += 1
        name = f"{key}#{number}"
    keys.add(name)
    return name


def _check_text(
    stream: io.BufferedIOBase, samples: list[Sample], file: InputFile, settings: config.InputSettings
) -> None:
    """Refuse an `input.text` that no sample has."""
    if settings.text in ("auto", "none") or file.sidecar or not samples:
        return
    known: dict[str, None] = {}
    for sample in islice(samples, _SAMPLE):
        known.update(dict.fromkeys(fields_in(_Archive(stream, file.location).text_files(sample.members))))
    if settings.text not in known:
        listed = ", ".join(known) or "none"
        raise ConfigError(f"{file.location}: input.text = {settings.text!r} is not in its samples; there are: {listed}")


def _unmatched(sidecar: str | None, samples: list[Sample]) -> list[str]:
    """Keys for what the sidecar names and no sample answers to."""
    if sidecar is None:
        return []
    known = {alias for sample in samples for alias in _aliases(sample.name)}
    keys = {sample.key for sample in samples}
    return [_unique(name, keys) for name in sidecar_texts(sidecar) if name not in known]


def _aliases(name: str) -> list[str]:
    """What a sidecar may call an image: its whole name, its last part, and both without the extension."""
    names = (name, split_name(name)[0])
    return list(dict.fromkeys([*names, *(alias.rpartition("/")[2] for alias in names)]))


def _row(archive: "_Archive", sidecar: Texts, text: str, key: str, name: str, members: list[tuple[str, int]]) -> Row:
    files = archive.text_files(members)
    texts = [caption for alias in _aliases(name) for caption in sidecar.get(alias, [])] + texts_in(files, text)
    image = next((offset for extension, offset in members if kind_of(extension) == "image"), None)
    url = url_in(files)
    if image is None:
        return Row(key, url, texts, detail=None if url else "no image in the sample")
    try:
        return Row(key, url, texts, archive.image(image))
    except Lost as lost:
        return Row(key, url, texts, None, lost.reason, lost.detail)


@dataclass(frozen=True, slots=True)
class _Archive:
    """Members of an open archive by the offset of their header.

    Raises:
        IntegrityError: what stands there now is not what was planned.
    """

    stream: io.BufferedIOBase
    location: str

    def text_files(self, members: list[tuple[str, int]]) -> list[tuple[str, bytes]]:
        """(extension, content) of the text and JSON members."""
        found = ((extension, self.header(offset)) for extension, offset in members if kind_of(extension) in _TEXTS)
        return [(extension, self.content(info)) for extension, info in found if info.size <= _MAX_TEXT_FILE]

    def image(self, offset: int) -> bytes:
        """The bytes of an image; `Lost` if it is a link or too large."""
        info = self.header(offset)
        if not info.isreg():
            raise Lost(Reason.MISSING_FILE, f"a link to {clean_line(info.linkname)}")
        if info.size > MAX_IMAGE_BYTES:
            raise Lost(Reason.TOO_LARGE, f"{info.size} bytes")
        return self.content(info)

    def header(self, offset: int) -> tarfile.TarInfo:
        """The header at `offset`; the stream stands behind it."""
        self.stream.seek(offset)
        try:
            return tar.parse(self.stream.read(tar.BLOCK))
        except Broken as error:
            raise IntegrityError(f"{self.location} has changed since it was planned: {error}") from error

    def content(self, info: tarfile.TarInfo) -> bytes:
        """What follows a header."""
        content = self.stream.read(info.size)
        if len(content) != info.size:
            raise IntegrityError(f"{self.location} has changed since it was planned: it is shorter")
        return content
