"""A reader whose work is done in a process with a memory limit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Part
from capfilt.core.errors import InputError
from capfilt.pipelines.readers.files.failures import Unreadable
from capfilt.pipelines.readers.limited import limited
from capfilt.pipelines.readers.rows.choices import Choice
from capfilt.pipelines.readers.rows.reader import InputFile, Reader, Where


class LimitedReader(Reader):
    """Another reader, in a process of its own; see `Reader.limited`."""

    def __init__(self, reader: Reader, memory: int) -> None:
        self.reader = reader
        self.memory = memory

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        for part in self._values("parts", file, settings):
            yield Part(**part)

    def read(self, part: Part) -> pa.Table:
        """The rows; where they cannot be read within the limit, all of them are failures."""
        try:
            return limited.table("read", {"part": asdict(part)}, self.memory)
        except Unreadable as error:
            return self.reader.failed(part, str(error))

    def keys(self, part: Part) -> Sequence[str | None]:
        return self.reader.keys(part)

    def check(self, file: InputFile, settings: config.InputSettings) -> None:
        list(self._values("check", file, settings))

    def choices(self, file: InputFile, settings: config.InputSettings) -> list[Choice]:
        return [Choice(**choice) for choice in self._values("choices", file, settings)]

    def gives_texts(self, file: InputFile, settings: config.InputSettings) -> bool:
        return all(self._values("gives_texts", file, settings))

    def references(self, file: InputFile, settings: config.InputSettings, rows: int | None = None) -> Iterator[str]:
        yield from self._values("references", file, settings, rows=rows)

    def redacted(self, part: Part, gone: Callable[[str], bool]) -> Where:
        return self.reader.redacted(part, gone)

    def _values(self, work: str, file: InputFile, settings: config.InputSettings, **more: int | None) -> Iterator[Any]:
        told = {"reader": self.reader.name, "file": file.to_json(), "settings": settings.model_dump(mode="json")}
        try:
            yield from limited.values(work, told | more, self.memory)
        except Unreadable as error:
            raise InputError(f"{file.location}: {error}") from error
