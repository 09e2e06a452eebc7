"""A package that brings a captioner, a judge, a reader and an export format by its entry points."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import capfilt
from capfilt.core import plugins

MODULE = '''
"""Models and a format of somebody else's."""

from pathlib import Path

from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Caption
from capfilt.pipelines.export.formats import ExportLayout
from capfilt.pipelines.readers.rows.reader import Reader, Row, make_part, raw_table


class Bright:
    name, digest, pixels = "bright", "0123456789ab", PixelSpec(16)

    def __init__(self, placement):
        pass

    def caption(self, images, seeds, prompt, decoding):
        return [[Caption(f"brightness {int(image.float().mean())}", None) for _ in own]
                for image, own in zip(images, seeds)]


class Length:
    name, digest, pixels, columns = "length", "ba9876543210", PixelSpec(16), ("length",)

    def __init__(self, placement):
        pass

    def score(self, images, texts):
        return {"length": [[float(len(text)) for text in own] for own in texts]}


class Words(Reader):
    """Lines of `picture<SPACE>text`; pictures lie beside the file."""

    name, about, suffixes = "words", "lines of a picture and a text", ("words",)

    def parts(self, file, settings):
        rows = len(Path(file.location).read_text().splitlines())
        yield make_part(file, 0, rows)

    def read(self, part):
        path = Path(part.file)
        lines = [line.split(" ", 1) for line in path.read_text().splitlines()]
        return raw_table([Row(name, texts=[text], image=(path.parent / name).read_bytes()) for name, text in lines])


class Lines:
    layout = ExportLayout(shard="{}.txt", mime="text/plain", reader="open('{to}/00000.txt')")

    def write(self, folder, name, rows):
        folder.write(f"{name}.txt", "\\n".join(rows["text"].to_pylist()).encode())

    def finish(self, folder, shards):
        pass
'''

ENTRY_POINTS = """
[capfilt.captioners]
bright = tiny_package:Bright
broken = tiny_package:Nothing

[capfilt.judges]
length = tiny_package:Length

[capfilt.readers]
words = tiny_package:Words

[capfilt.exports]
lines = tiny_package:Lines
"""


@pytest.fixture
def tiny_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installed: a module and its .dist-info on sys.path."""
    site = tmp_path / "site"
    make(site, "tiny-package", ENTRY_POINTS)
    (site / "tiny_package.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(site))
    return site


def make(site: Path, name: str, entry_points: str) -> None:
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_what_it_brings_is_listed_and_not_loaded(tiny_package: Path) -> None:
    (tiny_package / "tiny_package.py").write_text("raise SystemExit('loaded')")
    cards = {card.name: card for card in capfilt.list_captioners()}
    assert (cards["bright"].source, cards["bright"].role) == ("tiny-package", "captioner")
    assert "length" in {card.name for card in capfilt.list_judges()}


@pytest.mark.slow
def test_its_models_and_its_format_make_a_run(
    tiny_package: Path, pairs: Path, changes: dict[str, Any], tmp_path: Path
) -> None:
    own = {"caption.captioner": "bright", "score.judges": ["length"]}
    run = capfilt.run(pairs, tmp_path / "out", set={**changes, **own})
    captions = run.captions().to_arrow_table().to_pylist()
    assert all(row["text"].startswith("brightness ") for row in captions if row["source"] == "synthetic")
    assert all(row["length"] == len(row["text"]) for row in captions)
    assert {row["captioner"] for row in captions} == {None, "bright@0123456789ab"}
    run.export(tmp_path / "lines", format="lines")
    assert len((tmp_path / "lines" / "00000.txt").read_text().split("\n")) == run.status().images


@pytest.mark.slow
def test_its_reader_reads_a_run(tiny_package: Path, pairs: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pictures = pq.read_table(pairs)["image"].to_pylist()[:3]
    for number, picture in enumerate(pictures):
        (folder / f"{number}.jpg").write_bytes(picture if isinstance(picture, bytes) else picture["bytes"])
    (folder / "list.words").write_text("".join(f"{number}.jpg text {number}\n" for number in range(3)))
    run = capfilt.run(folder / "list.words", tmp_path / "out", set=changes)
    assert run.status().images == 3
    web = run.captions().filter("source = 'web'").project("text").order("text").fetchall()
    assert web == [("text 0",), ("text 1",), ("text 2",)]


def test_a_reader_under_another_name_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Path) -> None:
    make(tmp_path / "site", "odd-package", "[capfilt.readers]\nverses = odd_package:Words\n")
    (tmp_path / "site" / "odd_package.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "x.verses").write_text("x")
    with pytest.raises(capfilt.ConfigError, match="verses of package odd-package is not a Reader of that name"):
        capfilt.run(tmp_path / "x.verses", tmp_path / "out")


def test_its_models_can_be_loaded_alone(tiny_package: Path, pairs: Path) -> None:
    picture = pq.read_table(pairs)["image"][0].as_py()
    assert capfilt.load_captioner("bright").caption([picture])[0][0].text.startswith("brightness ")
    assert capfilt.load_judge("length").score(picture, ["four"]) == [{"length": 4.0}]


def test_the_command_line_knows_them(tiny_package: Path) -> None:
    command = [sys.executable, "-m", "capfilt", "models"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tiny_package)})
    assert "tiny-package" in done.stdout


def test_what_cannot_be_used_is_one_line(tiny_package: Path) -> None:
    with pytest.raises(capfilt.ModelError, match="broken of package tiny-package: AttributeError"):
        capfilt.load_captioner("broken")
    with pytest.raises(capfilt.ModelError, match="'bright' comes from a package that brings no filter of that name"):
        capfilt.load_judge("bright")


def test_a_name_that_two_packages_bring_is_refused(tiny_package: Path) -> None:
    make(tiny_package, "second-package", "[capfilt.judges]\nlength = other_package:Length\n")
    plugins._found.cache_clear()  # a package is installed before a program starts, not while it runs
    with pytest.raises(capfilt.ConfigError, match="'length' is brought by two packages"):
        capfilt.list_judges()
