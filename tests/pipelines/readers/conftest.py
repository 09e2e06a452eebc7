"""What the reader tests share: real pictures, real shards, and a plan that is read to its end."""

import io
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from capfilt.core.config import InputSettings
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.stages.read import read

Rows = list[dict[str, Any]]
ReadAll = Callable[..., Rows]


@pytest.fixture(scope="session")
def picture() -> Callable[[int], bytes]:
    """A small PNG that differs with its number."""

    def make(number: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, 99)).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def read_all() -> ReadAll:
    """Plan the inputs and read every chunk; checks on the way what holds for every input."""

    def run(*inputs: Path | str, limit: int | None = None, **settings: Any) -> Rows:
        given = InputSettings(**settings)
        plan = make_plan([str(one) for one in inputs], given, limit)
        rows: Rows = []
        for number, chunk in enumerate(plan.chunks):
            assert chunk.name == f"{number:06d}"
            assert 0 < chunk.rows <= given.chunk_rows
            rows += read(chunk).to_pylist()
        assert len(rows) == plan.rows
        assert len({row["uid"] for row in rows}) == len(rows)
        return rows

    return run


@pytest.fixture(scope="session")
def write_tar() -> Callable[[Path, Iterable[tuple[str, bytes]]], Path]:
    """Write an archive with these members."""

    def write(path: Path, members: Iterable[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> Path:
        with tarfile.open(path, "w", format=kind) as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture(scope="session")
def texts() -> Callable[[Sequence[dict[str, Any]]], list[list[str]]]:
    """The texts of rows, without their source."""

    def of(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
        return [[text["text"] for text in row["texts"]] for row in rows]

    return of
