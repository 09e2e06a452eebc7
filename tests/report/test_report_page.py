"""The page: self-contained, closed to hostile texts, bounded, and there for unfinished runs too."""

import base64
import hashlib
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pyarrow import fs as pafs

from capfilt.charts.loss_curves import loss_chart
from capfilt.charts.svg import standalone
from capfilt.core.config import Recipe
from capfilt.core.storage import Folder
from capfilt.ledger.joined import captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.calibrate import calibrate
from capfilt.report import write_report
from command_line import invoke


class Page(HTMLParser):
    """Every element and every attribute of a page, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def hostile(hostile_run: Path) -> str:
    return write_report(Folder.at(hostile_run)).decode()


@pytest.mark.slow
def test_nothing_is_loaded_and_only_our_own_script_may_run(hostile: str) -> None:
    page = Page(hostile)
    for tag, attributes in page.tags:
        assert not attributes.keys() & {"href", "srcset", "style", "action", "data", "poster"}, (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "form"} == {"form"}
    assert "url(" not in hostile
    assert "@import" not in hostile
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", hostile, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_hostile_texts_are_shown_as_text(hostile: str) -> None:
    page = Page(hostile)
    assert len(page.all("script")) == 1
    assert "<script>document.title = 'taken'</script>" in "".join(page.words)
    assert not page.all("b")
    assert "{{ 7 * 7 }}" in "".join(page.words)
    assert "\\u202egnp.exe\\u2069 \\x1b[2Jpicture" in "".join(page.words)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", hostile)


def test_a_megabyte_of_text_is_cut(hostile: str) -> None:
    assert "1,048,576 characters" in hostile
    assert "abc " * 200 not in hostile
    assert len(hostile) < 1_500_000


def test_user_names_in_urls_are_in_no_host(hostile_run: Path, hostile: str) -> None:
    hosts = hostile[hostile.index("Hosts with the most failures") :]
    assert "secret" not in hosts[: hosts.index("</table>")]


@pytest.mark.slow
def test_the_page_does_not_grow_with_the_run(plain_run: Path, tmp_path: Path, make_run: Callable[..., Path]) -> None:
    small = len(write_report(Folder.at(plain_run)))
    large = len(write_report(Folder.at(make_run(tmp_path / "large", 6000))))
    assert large < 1.3 * small


def test_the_numbers_of_the_run_are_told(plain_run: Path) -> None:
    words = " ".join(" ".join(Page(write_report(Folder.at(plain_run)).decode()).words).split())
    assert "600 rows went in, 540 became images." in words
    assert "http_404" in words
    assert "demo-filter" in words
    assert "600 rows in 2:00 min, 5 rows/s, in 1 session" in words
    assert 'policy = "blip"' in words


def test_an_unfinished_run_says_so(plain_run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(plain_run, tmp_path / "out"))
    (out / "commits" / "000001.parquet").unlink()
    (out / "selection.toml").unlink()
    words = " ".join("".join(Page(write_report(Folder.at(out)).decode()).words).split())
    assert "Not complete: 1 of 2 chunks are left; re-run the same command to resume." in words
    assert "no selection of exactly these rows yet" in words
    assert "undecided" in words


def test_a_run_without_any_chunk_has_a_page_too(tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "out")
    ledger.write_plan([], [], Recipe(), {}, {})
    page = write_report(ledger.folder).decode()
    assert "0 rows went in" in " ".join(page.split())


def test_a_run_without_judges_has_a_page_without_scores(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    out = make_run(tmp_path / "out", 40, judges=())
    page = Page(write_report(Folder.at(out)).decode())
    titles = [word.strip() for word in page.words]
    assert "Scores" not in titles
    assert "Texts" in titles


@pytest.mark.slow
def test_calibration_is_shown_if_there_is_one(plain_run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(plain_run, tmp_path / "out"))
    labels = tmp_path / "labels.csv"
    captions = Ledger.at(out).dataset("captions", captions_schema(Ledger.at(out))).to_table().to_pylist()
    rows = [f"{c['uid']},{c['candidate']},{int(c['itm'] > 0.4)}" for c in captions]
    labels.write_text("uid,candidate,label\n" + "\n".join(rows))
    assert "Calibration" not in write_report(Folder.at(out)).decode()
    calibrate(Folder.at(out), str(labels), precision=0.9, images=2, seed=0)
    words = "".join(Page(write_report(Folder.at(out)).decode()).words)
    assert "Calibration" in words
    assert "Measured on labeled pairs." in words
    assert "web, AUC 1.000" in words


def test_a_bucket_is_reported_like_a_folder(plain_run: Path) -> None:
    """A file system that is not the local one, through the same interface."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(plain_run), "/bucket/report", recursive=True)
    folder = Folder(pafs.PyFileSystem(pafs.FSSpecHandler(memory)), "bucket/report", "memory://bucket/report")
    page = write_report(folder)
    assert folder.read("report.html") == page
    assert Page(page.decode()).all("img")


def test_the_command_writes_the_page_and_says_where(plain_run: Path, tmp_path: Path) -> None:
    result = invoke("report", plain_run, "--output", tmp_path / "mine.html")
    assert result.exit_code == 0, result.output
    assert "report.html" in result.stdout
    assert (tmp_path / "mine.html").read_bytes() == (plain_run / "report.html").read_bytes()


def test_mistakes_are_told_in_a_line(plain_run: Path, tmp_path: Path) -> None:
    for arguments in ((tmp_path / "nowhere",), (plain_run, "--output", tmp_path / "no" / "where.html")):
        result = invoke("report", *arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_loss_curves_of_models_that_were_trained_here(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the recipe's two models one has its training beside it, where the report is asked for."""
    home = tmp_path / "demo-captioner" / "training"
    home.mkdir(parents=True)
    drawn = standalone(loss_chart({"itc": [(1, 4.0), (2, 2.0)], "<b>lm</b>": [(1, 3.0), (2, 1.5)]}))
    (home / "losses.svg").write_bytes(drawn)
    monkeypatch.chdir(tmp_path)
    page = Page(write_report(Folder.at(plain_run)).decode())
    (picture,) = [image["src"] for image in page.all("img") if image["src"].startswith("data:image/svg+xml;base64,")]
    assert base64.b64decode(picture.partition(",")[2]) == drawn
    assert "Training of the models" in page.words
    monkeypatch.chdir("/")
    assert "Training of the models" not in write_report(Folder.at(plain_run)).decode()
