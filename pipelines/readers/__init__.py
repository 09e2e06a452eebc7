"""Input formats. To add one: a class with the methods of `base.Reader`, and a line in `READERS`."""

from typing import Final

from capfilt.pipelines.readers.base import BrokenReader, InputFile, Picture, Reader
from capfilt.pipelines.readers.folder import FolderReader
from capfilt.pipelines.readers.lists import ListReader
from capfilt.pipelines.readers.parquet import ParquetReader
from capfilt.pipelines.readers.webdataset import WebdatasetReader

__all__ = ["READERS", "InputFile", "Picture", "Reader"]

READERS: Final[dict[str, Reader]] = {
    reader.name: reader
    for reader in (ListReader(), ParquetReader(), WebdatasetReader(), FolderReader(), BrokenReader())
}
