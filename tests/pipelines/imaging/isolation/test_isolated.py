"""The process that decodes may crash, hang or not even start: one row pays, or the chunk says why."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image, PngImagePlugin

from capfilt.core import schema
from capfilt.core.config import DecodeSettings
from capfilt.core.errors import IntegrityError
from capfilt.core.processes import memory
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.image_file import BadImage
from capfilt.pipelines.imaging.isolation import isolated
from capfilt.pipelines.imaging.isolation.isolated import plain_isolated
from capfilt.pipelines.selection.corpus import plain_images
from capfilt.pipelines.stages.decode import decode
from decoding import rows_of
from pictures import encoded
from waiting import wait_until

SPECS = (PixelSpec(16), PixelSpec(24, "crop"), PixelSpec(64, "fit"))

# Python runs this file as it starts: a codec that does what the file says. The signals and sleeps are real ones.
BAD_CODEC = """
import ctypes, os, signal, time
from PIL import ImageFile

load = ImageFile.ImageFile.load

def hurt(self):
    match self.info.get("do", ""):
        case "crash": os.kill(os.getpid(), signal.SIGSEGV); time.sleep(5)
        case "exit": os._exit(3)
        case "hang": time.sleep(600)
        case "hold": ctypes.PyDLL(None).sleep(600)  # without giving the interpreter away
        case "fail": raise SystemError("of no kind that a codec should raise")
        case "eat": self.eaten = bytearray(1 << 36)
        case "env": open(self.info["to"], "w").write(" ".join(os.environ))
        case "pid": open(self.info["to"], "w").write(str(os.getpid())); time.sleep(600)
    return load(self)

ImageFile.ImageFile.load = hurt
"""


@pytest.fixture
def bad_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BAD_CODEC)
    monkeypatch.syspath_prepend(str(folder))
    isolated._PROCESSES.close()
    yield folder
    isolated._PROCESSES.close()


@pytest.fixture(scope="module")
def png() -> Callable[..., bytes]:
    def make(number: int = 0, **notes: str) -> bytes:
        told = PngImagePlugin.PngInfo()
        for name, text in notes.items():
            told.add_text(name, text)
        return encoded(Image.new("RGB", (30 + number % 7, 20), (number % 256, 99, 3)), "PNG", pnginfo=told)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("do", "said"), [("crash", "was killed by SIGSEGV"), ("exit", "ended with code 3")])
def test_files_that_kill_the_process_are_rows_and_all_others_are_pictures(
    do: str, said: str, bad_codec: Path, png: Callable[..., bytes]
) -> None:
    deadly = {3, 4, 29}
    files = [png(n, **({"do": do} if n in deadly else {})) for n in range(40)]
    out = decode(rows_of(*files), DecodeSettings(), SPECS).to_pylist()
    assert {n for n, row in enumerate(out) if row["reason"] == "codec_crash"} == deadly
    assert {out[n]["detail"] for n in deadly} == {f"the decoding process {said}"}
    assert Counter(row["reason"] for row in out) == {None: 37, "codec_crash": 3}
    good = decode(rows_of(*(png(n) for n in range(40))), DecodeSettings(isolate=False), SPECS).to_pylist()
    for n in set(range(40)) - deadly:
        assert out[n] == good[n]


@pytest.mark.slow
@pytest.mark.parametrize("do", ["hang", "hold"])
def test_a_file_that_never_ends_is_too_slow(do: str, bad_codec: Path, png: Callable[..., bytes]) -> None:
    files = [png(n, **({"do": do} if n == 5 else {})) for n in range(12)]
    out = decode(rows_of(*files), DecodeSettings(timeout=2.0), SPECS, threads=2).to_pylist()
    assert [n for n, row in enumerate(out) if row["reason"]] == [5]
    assert (out[5]["reason"], out[5]["detail"]) == ("too_slow", "not decoded within 2 s")


def test_what_codecs_raise_is_a_reason(bad_codec: Path, png: Callable[..., bytes]) -> None:
    [row] = decode(rows_of(png(do="fail")), DecodeSettings()).to_pylist()
    assert row["reason"] == "corrupt"
    assert "of no kind that a codec should raise" in row["detail"]


def test_a_codec_that_asks_for_more_memory_than_pixels_need_fails_its_file(
    bad_codec: Path, png: Callable[..., bytes]
) -> None:
    out = decode(rows_of(png(), png(do="eat"), png()), DecodeSettings()).to_pylist()
    assert [row["reason"] for row in out] == [None, "too_many_pixels", None]


def test_ten_files_of_many_pixels_are_not_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as files: a hundred million pixels at once, 3 bytes a pixel and 4 in Pillow, and no more."""
    large = encoded(Image.new("1", (5000, 5000)), "PNG")
    small = encoded(Image.new("RGB", (40, 30), (9, 99, 3)), "PNG")
    isolated._PROCESSES.close()
    monkeypatch.setattr(memory, "_CHILDREN", {})
    out = decode(rows_of(*[large] * 10, *[small] * 10), DecodeSettings(), SPECS, threads=10).to_pylist()
    assert [row["reason"] for row in out] == [None] * 20
    assert memory.peaks_of_children()["decoder"] < 900_000_000


def test_the_process_knows_no_secrets(
    bad_codec: Path, png: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    decode(rows_of(png(do="env", to=str(tmp_path / "env"))), DecodeSettings())
    names = set((tmp_path / "env").read_text().split())
    assert names <= {*isolated.ENVIRONMENT, "PYTHONPATH", "LC_CTYPE"}


def test_a_process_that_does_not_start_is_no_file_s_fault(bad_codec: Path, png: Callable[..., bytes]) -> None:
    (bad_codec / "sitecustomize.py").write_text("import os; os._exit(7)")
    with pytest.raises(RuntimeError, match="the decoding process ended with code 7, no file was at work"):
        decode(rows_of(png()), DecodeSettings())


@pytest.mark.slow
def test_one_process_serves_many_calls_and_a_fork_gets_its_own(png: Callable[..., bytes]) -> None:
    decode(rows_of(png()), DecodeSettings())
    first = isolated._PROCESSES.get()
    decode(rows_of(png(), b"no image"), DecodeSettings(), SPECS)
    assert isolated._PROCESSES.get() is first
    first.kill()
    assert decode(rows_of(png()), DecodeSettings())["reason"].to_pylist() == [None]
    assert isolated._PROCESSES.get() is not first


ORPHAN = """
import sys
import pyarrow as pa
from capfilt.core.config import DecodeSettings
from capfilt.pipelines.stages.decode import decode
from capfilt.core.schema import ROWS
row = {"uid": "0", "source": "a#0", "texts": [], "image": open(sys.argv[1], "rb").read()}
decode(pa.Table.from_pylist([row], schema=ROWS), DecodeSettings(timeout=1.0))
"""


@pytest.mark.slow
def test_it_never_outlives_us_for_long(bad_codec: Path, png: Callable[..., bytes], tmp_path: Path) -> None:
    """Killed as we wait for a file that never ends: nobody is left to stop the process but itself."""
    (tmp_path / "a.png").write_bytes(png(do="pid", to=str(tmp_path / "pid")))
    environment = os.environ | {"PYTHONPATH": str(bad_codec)}
    with subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path / "a.png")], env=environment) as parent:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        parent.send_signal(signal.SIGKILL)
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{child}").exists())


def test_the_same_as_in_this_process(shared_data: Path) -> None:
    files = sorted((shared_data / "malformed").iterdir())[::7]
    rows = rows_of(*(path.read_bytes() for path in files))
    assert decode(rows, DecodeSettings(), SPECS).equals(decode(rows, DecodeSettings(isolate=False), SPECS))


def test_answers_of_files_that_were_interrupted_are_not_given_to_the_next(
    png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a notebook: the process that decodes has answered, and nobody has read it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    first, second = ([png(n) for n in range(start, start + 20)] for start in (0, 1))
    with monkeypatch.context() as patch:
        patch.setattr(isolated._Work, "_take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decode(rows_of(*first), DecodeSettings(), SPECS)
    calm = decode(rows_of(*second), DecodeSettings(isolate=False), SPECS)
    assert decode(rows_of(*second), DecodeSettings(), SPECS).equals(calm)


def test_a_file_that_kills_its_codec_does_not_kill_the_export_of_others(
    bad_codec: Path, png: Callable[..., bytes]
) -> None:
    """Select and export re-encode what loaders decode otherwise; a codec may still die of a file it took before."""

    def image(number: int, **notes: str) -> bytes:
        picture = Image.new("RGBA", (20 + number, 20), (number, 99, 3, 128))
        told = PngImagePlugin.PngInfo()
        for name, text in notes.items():
            told.add_text(name, text)
        return encoded(picture, "PNG", pnginfo=told)

    files = [image(0), png(1), None, image(3, do="crash"), image(4), b"no image"]
    made = plain_isolated(files, None)
    assert [one[0] if isinstance(one, tuple) else one for one in (made[0], made[1], made[2], made[4])] == [
        *("png", None, None, "png"),
    ]
    crashed, broken = made[3], made[5]
    assert isinstance(crashed, BadImage)
    assert (crashed.reason, crashed.detail) == ("codec_crash", "the decoding process was killed by SIGSEGV")
    assert isinstance(broken, BadImage)
    images = pa.array([{"bytes": file, "path": f"{n}.png"} for n, file in enumerate(files[:5])], schema.IMAGE)
    with pytest.raises(IntegrityError, match=r"image 3\.png was decoded before and cannot be now: codec_crash"):
        plain_images(images)


def test_plain_files_never_meet_a_codec(bad_codec: Path, png: Callable[..., bytes]) -> None:
    jpeg = encoded(Image.new("RGB", (20, 20), "red"), "JPEG")
    assert plain_isolated([png(0), png(1, do="crash"), jpeg], None) == [None, None, None]
