"""What an input was when the plan was made: a resumed run refuses one that has changed since."""

import hashlib
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from capfilt.core.storage import split_url
from capfilt.pipelines.readers.files.pictures import Neighbours
from capfilt.pipelines.readers.folder.samples import MAX_TEXT_BYTES
from capfilt.pipelines.readers.rows.reader import InputFile

WHOLE: Final = 64_000_000
"""Bytes up to which a file's digest covers all of it; beyond, only its size and three blocks."""

_BLOCK: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class InputDigest:
    """What an input file was when the plan was made."""

    identity: str
    size: int  # bytes
    sha256: str


def digest(file: InputFile) -> list[InputDigest]:
    """What `file` is now, and its sidecar, if it has one; of a folder of images all of them together."""
    if file.pictures:
        return [_folder_digest(file)]
    digests = [_file_digest(file.location, file.identity)]
    if file.sidecar:
        suffix = file.sidecar.partition("?")[0].rpartition(".")[2]
        digests.append(_file_digest(file.sidecar, f"{file.identity.removesuffix('.tar')}.{suffix}"))
    return digests


def _file_digest(location: str, identity: str) -> InputDigest:
    filesystem, path = split_url(location)
    try:
        with filesystem.open_input_file(path) as stream:
            size = int(stream.size())
            return InputDigest(identity, size, _content_digest(stream, size))
    except FileNotFoundError:  # a dangling link in a directory; the row that stands for it says so
        return InputDigest(identity, 0, "missing")


def _content_digest(stream: pa.NativeFile, size: int) -> str:
    sha = hashlib.sha256(str(size).encode() if size > WHOLE else b"")
    for begin in range(0, size, _BLOCK) if size <= WHOLE else (0, size // 2, max(size - _BLOCK, 0)):
        stream.seek(begin)
        sha.update(stream.read(_BLOCK))
    return sha.hexdigest()


def _folder_digest(file: InputFile) -> InputDigest:
    """Names and sizes, and the bytes too where they are few."""
    folder = Neighbours(file.location)
    size = sum(picture.size for picture in file.pictures)
    sha = hashlib.sha256()
    for picture in file.pictures:
        sha.update(f"{picture.name}\0{picture.size}\0{' '.join(picture.texts)}\0".encode())
        if size > WHOLE:
            continue
        for content in [*folder.read_all([picture.name]), *folder.read_all(picture.texts, MAX_TEXT_BYTES)]:
            sha.update(content if isinstance(content, bytes) else b"")
    return InputDigest(file.identity, size, sha.hexdigest())
