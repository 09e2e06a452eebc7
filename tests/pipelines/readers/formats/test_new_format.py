"""A format nobody asked for is one class: here GNU recfiles, blocks of `Name: value` between empty lines."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from capfilt.core.chunks import Part
from capfilt.core.config import InputSettings
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.readers import READERS, redacted
from capfilt.pipelines.readers.files.failures import NotAnInput
from capfilt.pipelines.readers.rows.columns import Names
from capfilt.pipelines.readers.rows.reader import InputFile, Reader, Where, batches, forgotten_row, make_part, raw_table
from capfilt.pipelines.readers.rows.rows import rows_of
from reading import picture, read_all, texts


class RecReader(Reader):
    """One block a row."""

    name = "rec"
    about = "GNU recfiles"
    suffixes = ("rec",)
    marks = (b"%rec:",)

    def parts(self, file: InputFile, settings: InputSettings) -> Iterator[Part]:
        start = 0
        for blocks, _ in batches(((number, 0) for number in range(len(self._blocks(file.location)))), settings):
            yield make_part(file, start, len(blocks), numbers=list(blocks))
            start += len(blocks)

    def read(self, part: Part) -> pa.Table:
        blocks, numbers = self._blocks(part.file), part.where["numbers"][: part.rows]
        rows = rows_of([blocks[number or 0] for number in numbers], part, Names())
        gone = [number is None for number in numbers]
        return raw_table(forgotten_row(part, at) if gone[at] else row for at, row in enumerate(rows))

    def check(self, file: InputFile, settings: InputSettings) -> None:
        if not self._blocks(file.location):
            raise NotAnInput(f"{file.location}: an empty recfile")

    def redacted(self, part: Part, gone: Callable[[str], bool]) -> Where:
        numbers = part.where["numbers"]
        return part.where | {"numbers": [None if gone(str(part.start + at)) else n for at, n in enumerate(numbers)]}

    @staticmethod
    def _blocks(location: str) -> list[dict[str, str]]:
        blocks = Path(location).read_text().split("\n\n")
        return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block[:1] != "%"]


def write(path: Path, count: int) -> None:
    blocks = [f"Url: http://h/{number}.jpg\nText: text {number}" for number in range(count)]
    path.write_text("\n\n".join(["%rec: Image", *blocks]))


def test_a_new_format_needs_its_class_and_its_line_in_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.rec", 5)
    write(tmp_path / "empty.rec", 0)
    (tmp_path / "0.png").write_bytes(picture(0))
    (note,) = make_plan([str(tmp_path)], InputSettings()).notes
    assert "2 left out, no known kind" in note
    monkeypatch.setitem(READERS, RecReader.name, RecReader())
    rows = read_all(tmp_path, chunk_rows=2)
    assert [row["url"] for row in rows] == [None, *(f"http://h/{i}.jpg" for i in range(5))]
    assert texts(rows)[1:] == [[f"text {i}"] for i in range(5)]
    (note,) = make_plan([str(tmp_path)], InputSettings()).notes
    assert "an empty recfile" in note
    chunks = make_plan([str(tmp_path / "a.rec")], InputSettings()).chunks
    clean = redacted(chunks[0].parts[0], lambda source: source == "a.rec#2")
    assert READERS["rec"].read(clean)["reason"].to_pylist() == [None, None, "forgotten", None, None]


def test_a_mark_of_its_own_makes_a_format_known_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "pairs", 3)
    monkeypatch.setitem(READERS, RecReader.name, RecReader())
    assert len(read_all(tmp_path / "pairs")) == 3
