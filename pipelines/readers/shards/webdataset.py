"""webdataset shards: .tar files whose members belong together by key."""

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, cast

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.core.errors import ConfigError, InputError, IntegrityError
from capfilt.core.schema import Reason
from capfilt.pipelines.readers.files.failures import UNREADABLE, Broken, Lost, NotAnInput, reason_of
from capfilt.pipelines.readers.files.open import open_file
from capfilt.pipelines.readers.files.pictures import MAX_IMAGE_BYTES
from capfilt.pipelines.readers.folder.folder import texts_asked
from capfilt.pipelines.readers.folder.samples import (
    MAX_TEXT_BYTES,
    Files,
    decoded,
    fields_in,
    kind_of,
    sample_choices,
    split_name,
    texts_in,
    url_in,
)
from capfilt.pipelines.readers.rows.choices import Choice
from capfilt.pipelines.readers.rows.columns import Names, matching
from capfilt.pipelines.readers.rows.reader import (
    InputFile,
    Reader,
    Row,
    Where,
    batches,
    broken_part,
    forgotten_row,
    make_part,
    raw_table,
)
from capfilt.pipelines.readers.rows.references import Several
from capfilt.pipelines.readers.shards import tar
from capfilt.pipelines.readers.shards.grouping import Sample, samples_of, unique
from capfilt.pipelines.readers.shards.sidecar import Texts, sidecar_texts
from capfilt.pipelines.readers.text.hygiene import clean_line

_SAMPLE: Final = 20  # samples
_MEMBERS: Final = 100  # of a shard that are looked at to say where its texts stand
_TEXTS: Final = ("text", "json")
_TABLES: Final = ("csv", "tsv", "jsonl", "ndjson", "parquet", "arrow")

Members = list[tuple[str, int]]
"""(extension, offset of the header block) of the files of a sample."""


class WebdatasetReader(Reader):
    """One sample a row, wherever its members stand; the key is the webdataset key.

    `where` holds the offset of every member, so that a chunk is read without walking the archive again. Behind the
    samples come the rows of the sidecar that name no member, and one row if the archive breaks off.
    """

    name = "webdataset"
    about = "webdataset shards (.tar) of images with .txt and .json, with or without a table of captions beside them"
    suffixes = ("tar",)

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        with open_file(file.location) as stream:
            samples, damage = _group(stream)
            _check_text(stream, samples, file, settings)
        if not samples and damage:
            raise InputError(f"{file.location}: {damage}")
        if samples and not any(kind_of(extension) for sample in samples for extension, _ in sample.members):
            raise NotAnInput(f"{file.location}: an archive without images or texts")
        common: dict[str, Json] = {**texts_asked(settings), "sidecar": file.sidecar}
        start = 0
        for group, size in batches(((sample, sample.size) for sample in samples), settings):
            listed: list[Json] = [sample.to_json() for sample in group]
            yield make_part(file, start, len(group), **common, bytes=size, samples=listed)
            start += len(group)
        for names, _ in batches(((name, 0) for name in _unmatched(file.sidecar, samples, settings.encoding)), settings):
            yield make_part(file, start, len(names), missing=cast(Json, names))
            start += len(names)
        if damage:
            yield broken_part(file, start, damage)

    def read(self, part: Part) -> pa.Table:
        where = cast(dict[str, Any], part.where)
        if "missing" in where:
            lost = where["missing"][: part.rows]
            return raw_table(_missing(key) if key else forgotten_row(part, n) for n, key in enumerate(lost))
        text = where["text"] if isinstance(where["text"], str) else tuple(where["text"])
        encoding = where.get("encoding", "auto")
        sidecar = sidecar_texts(where["sidecar"], text, encoding) if where["sidecar"] else {}
        with open_file(part.file) as stream:
            samples = where["samples"][: part.rows]
            members = [(extension, at) for sample in samples if sample for extension, at in sample[2]]
            archive = _Archive.of(stream, part.file, members, encoding)
        return raw_table(
            _row(archive, sidecar, text, *sample) if sample else forgotten_row(part, number)
            for number, sample in enumerate(samples)
        )

    def choices(self, file: InputFile, settings: config.InputSettings) -> list[Choice]:
        with open_file(file.location) as stream:
            first = samples_of(islice(_sound(stream), _MEMBERS))[:_SAMPLE]  # the last one may lack members
            texts = [(one, at) for sample in first for one, at in sample.members if kind_of(one) in _TEXTS]
            archive = _Archive.of(stream, file.location, texts, settings.encoding)
        kinds = Counter(f".{extension}" for sample in first for extension in sample.images)
        found = [Choice("image", ", ".join(kinds), "members of its first samples")] if kinds else []
        texts_beside = sample_choices([_readable(archive.text_files(one.members)) for one in first], settings.text)
        if file.sidecar:
            suffix = file.sidecar.partition("?")[0].rpartition(".")[2]
            found.append(Choice("text", f"the .{suffix} beside the shard", "it has its name, and names its members"))
            texts_beside = [choice for choice in texts_beside if choice.value != "none"]
        return found + texts_beside

    def keys(self, part: Part) -> Sequence[str | None]:
        where = cast(Where, part.where)
        if "missing" in where:
            return cast(list[str | None], where["missing"])
        return [sample and sample[0] for sample in where["samples"]]

    def redacted(self, part: Part, gone: Callable[[str], bool]) -> Where:
        where = cast(Where, part.where)
        if "missing" in where:
            return where | {"missing": [None if key is None or gone(key) else key for key in where["missing"]]}
        return where | {"samples": [None if one is None or gone(one[0]) else one for one in where["samples"]]}


def _missing(key: str) -> Row:
    return Row(key, reason=Reason.MISSING_FILE, detail=f"no such member: {key}")


def _group(stream: io.BufferedReader) -> tuple[list[Sample], str | None]:
    """The samples, and what is wrong with the archive, if anything."""
    members: list[tar.Member] = []
    damage = None
    try:
        for member in tar.members(stream):
            members.append(member)  # one by one, for those before the damage count
    except UNREADABLE as error:
        damage = reason_of(error)
    return samples_of(members), damage


def _sound(stream: io.BufferedReader) -> Iterator[tar.Member]:
    """The members before any damage."""
    try:
        yield from tar.members(stream)
    except UNREADABLE:
        return


def _check_text(
    stream: io.BufferedReader, samples: list[Sample], file: InputFile, settings: config.InputSettings
) -> None:
    """Refuse an `input.text` that no sample has."""
    wanted = Names.of(settings).texts
    if not wanted or file.sidecar or not samples:
        return
    known: dict[str, None] = {}
    first = list(islice(samples, _SAMPLE))
    texts = [(extension, at) for sample in first for extension, at in sample.members if kind_of(extension) in _TEXTS]
    archive = _Archive.of(stream, file.location, texts, settings.encoding)
    for sample in first:
        known.update(dict.fromkeys(fields_in(_readable(archive.text_files(sample.members)))))
    for name in wanted:
        if not matching(tuple(known), (name,)):
            listed = ", ".join(known) or "none"
            raise ConfigError(f"{file.location}: input.text = {name!r} is not in its samples; there are: {listed}")


def _unmatched(sidecar: str | None, samples: list[Sample], encoding: str) -> list[str]:
    """Keys for what the sidecar names and no sample answers to."""
    if sidecar is None:
        return []
    known = {alias for sample in samples for alias in _aliases(sample.name)}
    keys = {sample.key for sample in samples}
    return [unique(name, keys) for name in sidecar_texts(sidecar, encoding=encoding) if name not in known]


def _aliases(name: str) -> list[str]:
    """What a sidecar may call an image: its whole name, its last part, and both without the extension."""
    names = (name, split_name(name)[0])
    return list(dict.fromkeys([*names, *(alias.rpartition("/")[2] for alias in names)]))


def _row(
    archive: "_Archive", sidecar: Texts, text: str | tuple[str, ...], key: str, name: str, members: Members
) -> Row:
    described = archive.text_files(members)
    lost = next((one for one in described if isinstance(one, Lost)), None)
    if lost is not None and text != "none":
        return Row(key, reason=lost.reason, detail=lost.detail)
    files = _readable(described)
    texts = [caption for alias in _aliases(name) for caption in sidecar.get(alias, [])] + texts_in(files, text)
    images = [(extension, offset) for extension, offset in members if kind_of(extension) == "image"]
    url = url_in(files)
    if len(images) > 1:
        several = Several(len(images), ", ".join(extension for extension, _ in images))
        return Row(key, url, texts, None, Reason.BAD_ROW, str(several))
    if not images:
        return Row(key, url, texts, detail=None if url else _why_no_image(members))
    try:
        return Row(key, url, texts, archive.image(images[0][1]))
    except Lost as error:
        return Row(key, url, texts, None, error.reason, error.detail)


def _why_no_image(members: Members) -> str:
    tables = sorted({extension for extension, _ in members if extension.rpartition(".")[2].lower() in _TABLES})
    only = f", only {' '.join(f'.{one}' for one in tables)}; a table in a shard is not read" if tables else ""
    return f"no image in the sample{only}"


def _readable(files: list[tuple[str, str] | Lost]) -> Files:
    return [one for one in files if not isinstance(one, Lost)]


@dataclass(frozen=True, slots=True)
class _Archive:
    """Members of an archive by the offset of their header."""

    members: dict[int, tuple[tarfile.TarInfo, bytes | None]]  # content, but of what is too large or a link
    texts: dict[int, tuple[str, str] | Lost]  # (extension, content) of text and JSON members, or why there is none

    @classmethod
    def of(cls, stream: io.BufferedReader, location: str, wanted: Members, encoding: str) -> "_Archive":
        """These members, read in the order of the file, for a packed one only goes forward.

        Raises:
            IntegrityError: what stands there now is not what was planned.
        """
        try:
            members = {offset: _member(stream, offset, limit) for offset, limit in sorted(_limits(wanted).items())}
        except UNREADABLE as error:
            raise IntegrityError(f"{location} has changed since it was planned: {reason_of(error)}") from error
        asked = {at: (extension, *members[at]) for extension, at in wanted if kind_of(extension) in _TEXTS}
        large: dict[int, tuple[str, str] | Lost] = {
            at: Lost(Reason.TOO_LARGE, f"{info.size} bytes: its .{extension}")
            for at, (extension, info, data) in asked.items()
            if info.isreg() and data is None
        }
        small = {at: (extension, data) for at, (extension, _, data) in asked.items() if data is not None}
        return cls(members, large | dict(zip(small, decoded([*small.values()], encoding), strict=True)))

    def text_files(self, members: Members) -> list[tuple[str, str] | Lost]:
        """(extension, content) of the text and JSON members, or why one cannot be read."""
        return [self.texts[at] for _, at in members if at in self.texts]

    def image(self, offset: int) -> bytes:
        """The bytes of an image; `Lost` if it is a link or too large."""
        info, content = self.members[offset]
        if not info.isreg():
            raise Lost(Reason.MISSING_FILE, f"a link to {clean_line(info.linkname)}")
        if content is None:
            raise Lost(Reason.TOO_LARGE, f"{info.size} bytes")
        return content


def _limits(wanted: Members) -> dict[int, int]:
    """How many bytes each member may have to be read, by its offset."""
    return {at: MAX_TEXT_BYTES if kind_of(extension) in _TEXTS else MAX_IMAGE_BYTES for extension, at in wanted}


def _member(stream: io.BufferedReader, offset: int, limit: int) -> tuple[tarfile.TarInfo, bytes | None]:
    stream.seek(offset)
    info = tar.parse(stream.read(tar.BLOCK))
    if not info.isreg() or info.size > limit:
        return info, None
    content = stream.read(info.size)
    if len(content) != info.size:
        raise Broken("it is shorter")
    return info, content
