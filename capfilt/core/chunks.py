"""The unit of everything: a chunk, and the parts of input files it is made of."""

import json
from dataclasses import asdict, dataclass
from typing import Self

from capfilt.core.serialization import canonical_json

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""What a reader may keep in `Part.where`."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows [start, start + rows) of one input file."""

    reader: str  # a name of capfilt.pipelines.readers
    file: str  # absolute path or URL
    identity: str  # stable name of the file, part of every uid
    start: int
    rows: int
    where: dict[str, Json]  # private to the reader: byte offsets, row groups, columns ...

    def to_json(self) -> str:
        """Stable JSON of every field."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The part that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of commit and resume: some hundred rows, named by position in the sorted input ("000000", ...)."""

    name: str
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def to_json(self) -> str:
        """Stable JSON of the name and all parts."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The chunk that `to_json` wrote."""
        fields = json.loads(text)
        return cls(fields["name"], tuple(Part(**part) for part in fields["parts"]))
