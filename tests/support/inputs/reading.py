"""What the reader tests share: small pictures, shards, and a plan that is read to its end."""

import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from capfilt.core.config import InputSettings
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.stages.read import read

Rows = list[dict[str, Any]]


def picture(number: int) -> bytes:
    """A small PNG that differs with its number."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, 99)).save(buffer, "PNG")
    return buffer.getvalue()


def read_all(*inputs: Path | str, limit: int | None = None, **settings: object) -> Rows:
    """Plan the inputs and read every chunk; checks on the way what holds for every input."""
    given = InputSettings.model_validate(settings)
    plan = make_plan([str(one) for one in inputs], given, limit)
    rows: Rows = []
    for number, chunk in enumerate(plan.chunks):
        assert chunk.name == f"{number:06d}"
        assert 0 < chunk.rows <= given.chunk_rows
        rows += read(chunk, given.memory).to_pylist()
    assert len(rows) == plan.rows
    assert len({row["uid"] for row in rows}) == len(rows)
    return rows


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> Path:
    """Write an archive with these members."""
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def texts(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The texts of rows, without their source."""
    return [[text["text"] for text in row["texts"]] for row in rows]
