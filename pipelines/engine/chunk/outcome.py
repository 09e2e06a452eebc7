"""What came out of one chunk."""

import json
from dataclasses import dataclass, field
from typing import Self

import pyarrow as pa

from capfilt.core.chunks import Chunk
from capfilt.pipelines.engine.chunk.chunk_row import unpack
from capfilt.pipelines.engine.chunk.peak_memory import PeakMemory
from capfilt.pipelines.engine.chunk.symptoms import COLUMN, Symptoms


@dataclass(frozen=True, slots=True)
class ChunkOutcome:
    """The counts of a chunk's commit record, or the error that stopped it; of a failed chunk all counts are 0.

    Only `planned`, the rows that the chunk was to have, is there for both.
    """

    chunk: str
    rows: int
    images: int
    captions: int
    reasons: dict[str, int]  # failed rows by reason
    seconds: dict[str, float]  # by stage
    memory: PeakMemory
    error: str  # "" = committed
    symptoms: Symptoms = field(default_factory=Symptoms)
    planned: int = 0

    @classmethod
    def of(cls, row: pa.Table) -> Self:
        """Of a chunk's row after its last stage, whose table is the commit record and the chunk's symptoms."""
        chunk, error, seconds, memory = (row[name][0].as_py() for name in ("chunk", "error", "seconds", "memory"))
        record = {} if error else unpack(row).to_pylist()[0]
        rows, images, captions = (record.get(name, 0) for name in ("rows", "images", "captions"))
        reasons = dict(record.get("reasons") or [])
        symptoms = Symptoms.from_json(record[COLUMN]) if record else Symptoms()
        planned = Chunk.from_json(row["spec"][0].as_py()).rows
        times, most = json.loads(seconds), json.loads(memory)
        return cls(chunk, rows, images, captions, reasons, times, most, error, symptoms, planned)
