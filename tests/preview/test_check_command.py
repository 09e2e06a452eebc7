"""`capfilt check` and `capfilt run --dry-run`: what they print, the page, exit codes; nothing is written."""

import re
from pathlib import Path

import pytest

from command_line import invoke
from pictures import picture

NO_MODELS = ("--set", "caption.n=0", "--set", "score.judges=[]", "--set", "select.policy='all'")
HOSTILE = "<script>alert(1)</script> a red \x1b[2J field"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(30):
        data = b"<html>" if number % 10 == 9 else picture(number, 80)
        (tmp_path / "in" / f"{number:02d}.jpg").write_bytes(data)
        (tmp_path / "in" / f"{number:02d}.txt").write_text(HOSTILE if number == 0 else f"a field, number {number}")
    (tmp_path / "in" / "notes.csv").write_text("day,weather\nmonday,rain\n")
    return tmp_path / "in"


def test_a_look_tells_files_choices_rows_and_what_is_left_out(folder: Path) -> None:
    result = invoke("check", folder)
    assert result.exit_code == 0, result.output
    assert re.search(r"^folder +1 .* 30$", result.stdout, re.MULTILINE)
    assert re.search(r"^text +\.txt +beside the image", result.stdout, re.MULTILINE)
    assert "skipped: " in result.stdout
    assert "notes.csv" in result.stdout
    assert "in all:  30 rows, 1 chunk" in result.stdout
    assert "80 x 80" in result.stdout
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= max(80, len(str(folder)) + 120)


def test_a_dry_run_prints_the_same_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    dry = invoke("run", folder, "--out", tmp_path / "out", "--dry-run", *NO_MODELS)
    assert dry.exit_code == 0
    assert dry.stdout == invoke("check", folder, *NO_MODELS).stdout
    assert not (tmp_path / "out").exists()


def test_the_page_shows_thumbnails_loads_nothing_and_lets_nothing_in(folder: Path, tmp_path: Path) -> None:
    result = invoke("check", folder, "--html", tmp_path / "page.html", *NO_MODELS)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') >= 5
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script>alert" not in page
    assert "default-src &#39;none&#39;; img-src data:" in page


def test_a_sample_reports_failures_kept_share_time_and_storage(folder: Path) -> None:
    result = invoke("check", folder, "--sample", 30, *NO_MODELS)
    assert result.exit_code == 0, result.output
    assert re.search(r"^rows in +30$", result.stdout, re.MULTILINE)
    assert re.search(r"^ +not_an_image +3 ", result.stdout, re.MULTILINE)
    assert re.search(r"^web +27 +0 +100\.0 %$", result.stdout, re.MULTILINE)
    assert re.search(r"^decode +\d", result.stdout, re.MULTILINE)
    assert re.search(r"^CPU-hours +\d", result.stdout, re.MULTILINE)
    assert re.search(r"^ +images/ +\d", result.stdout, re.MULTILINE)
    assert max(map(len, result.stdout.partition("in all:")[2].splitlines())) <= 80


def test_an_input_that_cannot_be_read_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    result = invoke("check", tmp_path / "nothing")
    assert result.exit_code == 2
    assert result.stderr.strip().splitlines()[-1].endswith("nothing: no such file or folder")


@pytest.mark.parametrize("sample", [(), ("--sample", "5")])
def test_an_input_without_an_image_says_so_and_what_to_look_at(tmp_path: Path, sample: tuple[str, ...]) -> None:
    (tmp_path / "a.csv").write_text("file_name,text\n" + "".join(f"{n}.jpg,a cat\n" for n in range(8)))
    result = invoke("check", tmp_path / "a.csv", *sample, *NO_MODELS)
    assert result.exit_code == 1
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("error: no image")
    assert "missing_file" in line
    assert "input.url" in line


def test_an_input_without_a_text_says_so_where_none_is_written(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(picture(0))
    assert invoke("check", tmp_path).exit_code == 0  # it gets captions
    result = invoke("check", tmp_path, "--set", "caption.n=0")
    assert result.exit_code == 1
    assert "no text" in result.stderr


def test_a_page_that_cannot_be_written_is_a_mistake_of_the_user(folder: Path, tmp_path: Path) -> None:
    result = invoke("check", folder, "--html", tmp_path / "nowhere" / "page.html")
    assert result.exit_code == 2
    assert "--html" in result.stderr


def test_a_price_without_a_sample_is_refused(folder: Path) -> None:
    result = invoke("check", folder, "--price-per-gpu-hour", 2)
    assert result.exit_code == 2
    assert "give --sample" in result.stderr
