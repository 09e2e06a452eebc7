"""What a file is: its reader by its suffix, or, for one without a known suffix, a word about what it looks like."""

import posixpath
from dataclasses import replace
from typing import Final

from capfilt.core import config
from capfilt.core.errors import UserError
from capfilt.pipelines.imaging.signatures import looks_like_an_image
from capfilt.pipelines.readers import all_readers, reader_named
from capfilt.pipelines.readers.files.failures import UNREADABLE, NotAnInput, NothingToRead
from capfilt.pipelines.readers.files.open import open_file, read_head
from capfilt.pipelines.readers.files.packing import PACKINGS, data_suffix
from capfilt.pipelines.readers.folder.samples import kind_of
from capfilt.pipelines.readers.rows.reader import InputFile

HEAD: Final = 1024

_FOREIGN: Final = (
    (b"PK\x03\x04", "a ZIP archive (or .xlsx, .docx, .npz); unpack it, or save a sheet as .csv"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file; write it as Parquet"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"\x80\x04\x95", "a Python pickle, which is never loaded"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\xd0\xcf\x11\xe0", "an old Office document; save the sheet as .csv"),
)
"""How files begin that are named when they are refused."""


def candidates(path: str) -> list[str]:
    """The readers whose suffix a file has, in the order they are asked."""
    suffix = data_suffix(path)
    return [reader.name for reader in all_readers().values() if suffix and suffix in reader.suffixes]


def chosen(file: InputFile, names: list[str], settings: config.InputSettings) -> InputFile:
    """The file with the first of these readers that accepts it; the last one where a file cannot even be opened.

    Raises:
        NotAnInput: none does, for the last one's reason.
        UserError: one does, but something is wrong; see `Reader.check`.
    """
    refusal: NotAnInput | None = None
    for name in _by_signature(file.location) or names:
        one = as_read_by(file, name)
        try:
            reader_named(name, settings.memory).check(one, settings)
        # It is a NotAnInput too, but a certain one.
        except NothingToRead:
            raise
        except NotAnInput as error:
            refusal = error
            continue
        return one
    if refusal is None:
        raise NotAnInput(f"{file.location}: no known kind")
    raise refusal


def as_read_by(file: InputFile, reader: str) -> InputFile:
    """The file with another reader."""
    return replace(file, reader=reader)


def is_picture(path: str) -> bool:
    """Whether a file is an image by its name."""
    return kind_of(posixpath.splitext(path)[1]) == "image"


def shows_a_picture(location: str) -> bool:
    """Whether a file begins like an image."""
    return looks_like_an_image(read_head(location, HEAD))


def _by_signature(location: str) -> list[str]:
    """The reader of a binary format, whatever the suffix; tables and JSON have no signature."""
    head = read_head(location, HEAD)
    return marked(head) if b"\0" in head else []


def marked(head: bytes) -> list[str]:
    """The readers whose mark a file begins with."""
    return [reader.name for reader in all_readers().values() if head.startswith(reader.marks)]


def by_content(location: str) -> list[str]:
    """The readers that may read a file whose name says nothing."""
    head = _unpacked_head(location)
    if not head:
        return []
    found = marked(head)
    # The mark of a tar stands in its first header, behind name, sizes and owner.
    if found or head[257:262] == b"ustar":
        return found or ["webdataset"]
    return (
        []
        if b"\0" in head.replace(b"\0\0", b"") and not head.startswith((b"\xff\xfe", b"\xfe\xff"))
        else ["documents", "lists"]
    )


def looks_like(location: str, settings: config.InputSettings) -> str:
    """What a file of no known suffix looks like, for the one line that names it."""
    head = read_head(location, HEAD)
    if not head:
        return "an empty file"
    foreign = next((what for mark, what in _FOREIGN if head.startswith(mark)), "")
    if foreign:
        return foreign
    try:
        file = chosen(InputFile("", location, "", ""), by_content(location), settings)
    except UserError:
        return "no known kind of input"
    suffix = {"lists": "csv or .jsonl", "documents": "json", "webdataset": "tar"}.get(file.reader, file.reader)
    return f"no known suffix, but it reads like .{suffix}; rename it to have it read"


def _unpacked_head(location: str) -> bytes:
    head = read_head(location, HEAD)
    if not head.startswith(tuple(PACKINGS)):
        return head
    try:
        with open_file(location) as stream:
            return stream.read(HEAD)
    except (*UNREADABLE, OSError):
        return b""
