"""What a run does not read of its inputs: told before work, and kept in run.toml, status and report."""

import tomllib
from pathlib import Path

import pytest
from PIL import Image

from command_line import invoke

ALONE = (
    "--set",
    "engine.kind='local'",
    "--set",
    "caption.n=0",
    "--set",
    "score.judges=[]",
    "--set",
    "select.policy='all'",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30), (number * 80, 9, 9)).save(tmp_path / "in" / f"{number}.png")
        (tmp_path / "in" / f"{number}.txt").write_text(f"a red field, number {number}")
    (tmp_path / "in" / "notes.csv").write_text("day,weather\nmonday,rain\n")
    (tmp_path / "in" / "archive.zip").write_bytes(b"PK\x03\x04" + bytes(20))
    (tmp_path / "in" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    return tmp_path / "in"


def test_what_is_not_read_is_told_before_work_and_kept(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke("run", folder, "--out", out, *ALONE)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    skipped = [line for line in lines if line.startswith("skipped: ")]
    assert [name in " ".join(skipped) for name in ("notes.csv", "archive.zip")] == [True, True]
    begin = next(number for number, line in enumerate(lines) if line.startswith(("starting workers", "working")))
    assert all(lines.index(line) < begin for line in skipped)
    kept = tomllib.loads((out / "run.toml").read_text())["left_out"]
    assert [f"skipped: {note}" for note in kept] == skipped
    status = invoke("status", out)
    assert status.exit_code == 0
    assert all(note in status.stdout for note in kept)
    assert invoke("report", out).exit_code == 0
    assert "notes.csv" in (out / "report.html").read_text()
    again = invoke("run", folder, "--out", out, *ALONE)
    assert again.exit_code == 0
    assert "nothing to do" in again.stdout


def test_a_format_that_needs_a_plug_in_is_unsupported_and_says_which(folder: Path, tmp_path: Path) -> None:
    invoke("run", folder, "--out", tmp_path / "out", *ALONE)
    asked = invoke("query", tmp_path / "out", "SELECT reason, detail FROM failures")
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        assert "unsupported" in asked.stdout
        assert "capfilt[heif]" in " ".join(asked.stdout.split())
    else:
        assert "corrupt" in asked.stdout or "truncated" in asked.stdout
