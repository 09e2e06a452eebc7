"""What a finished chunk shows of a cause that all its rows share: the commonest detail of each reason, bad captions."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

import pyarrow as pa

from capfilt.pipelines.stages.caption import CANDIDATES
from capfilt.pipelines.stages.caption_checks import UNUSABLE

COLUMN = "symptoms"
"""The column that they travel in, beside the chunk's commit record."""


@dataclass(frozen=True, slots=True)
class Captions:
    """What one captioner wrote in a chunk."""

    written: int
    unusable: int
    flag: str = ""  # the commonest of `UNUSABLE`
    example: str = ""  # a caption with this flag; often a server's own words


@dataclass(frozen=True, slots=True)
class Symptoms:
    """The symptoms of one chunk."""

    details: Mapping[str, str] = field(default_factory=dict)  # by reason
    captions: Mapping[str, Captions] = field(default_factory=dict)  # by captioner

    @classmethod
    def of(cls, rows: pa.Table) -> Self:
        """Of the rows that the last stage got."""
        details: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for reason, detail in zip(rows["reason"].to_pylist(), rows["detail"].to_pylist(), strict=True):
            if reason:
                details[reason][detail or ""] += 1
        return cls({reason: counts.most_common(1)[0][0] for reason, counts in details.items()}, _captions(rows))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The symptoms that `to_json` wrote."""
        stored = json.loads(text)
        return cls(stored["details"], {name: Captions(**some) for name, some in stored["captions"].items()})


def _captions(rows: pa.Table) -> dict[str, Captions]:
    written: Counter[str] = Counter()
    unusable: Counter[str] = Counter()
    flags: defaultdict[str, Counter[str]] = defaultdict(Counter)
    examples: dict[tuple[str, str], str] = {}
    for candidate in (one for some in rows[CANDIDATES].to_pylist() for one in some or ()):
        if candidate["source"] != "synthetic":
            continue
        name = candidate["captioner"]
        bad = [flag for flag in candidate["flags"] if flag in UNUSABLE]
        written[name] += 1
        unusable[name] += bool(bad)
        for flag in bad:
            flags[name][flag] += 1
            examples.setdefault((name, flag), candidate["text"][:200])
    commonest = {name: counts.most_common(1)[0][0] for name, counts in flags.items()}
    return {
        name: Captions(written[name], unusable[name], flag := commonest.get(name, ""), examples.get((name, flag), ""))
        for name in written
    }
