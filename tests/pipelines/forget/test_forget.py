"""Forgotten means: in no byte of any file, books that still balance, and never fetched again."""

import http.server
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow.parquet as pq
import pytest

from capfilt.core.config import FetchSettings
from capfilt.core.errors import ConfigError, InputError, IntegrityError
from capfilt.core.storage import Folder
from capfilt.ledger.transaction import write_transaction
from capfilt.pipelines.calibration.marks import MarkBook
from capfilt.pipelines.dedup.dedup import find_duplicates
from capfilt.pipelines.download.canonical_url import canonical, host_of
from capfilt.pipelines.export.export import FORMATS, export
from capfilt.pipelines.forget.forget import finish_forgetting, forget
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.fetch import fetch
from capfilt.pipelines.stages.read import read
from capfilt.pipelines.stages.tombstones import Tombstones, read_name
from command_line import invoke
from pictures import picture
from staged_run import MakeRun, Pair, Run, pairs, tree

Tree = Callable[[Path], dict[str, bytes]]
KEY = "ab" * 32


def traces(out: Path, words: list[str]) -> list[str]:
    """Files under `out` that hold one of the words, in their bytes or in any value of a Parquet table."""
    found = []
    for path in (path for path in out.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.match("[!.]*.parquet"):
            data += repr(pq.read_table(path).to_pylist()).encode() + repr(pq.read_metadata(path).metadata).encode()
        found += [f"{path.relative_to(out)}: {word}" for word in words if word.encode() in data]
    return found


def words_of(run: Run, uid: str) -> list[str]:
    """All that tells of a row; its number in the input tells nothing."""
    (row,) = [row for table in ("images", "failures") for row in run.table(table) if row["uid"] == uid]
    texts = [caption["text"] for caption in run.table("captions") if caption["uid"] == uid]
    found = [uid, row["url"], row.get("sha256"), row["source"].partition("#")[2], *texts]
    return [word for word in found if word and not word.isdigit()]


def uids(run: Run) -> dict[str, str]:
    """By URL, the uid of every image."""
    return {row["url"]: row["uid"] for row in run.table("images")}


def check_books(run: Run) -> None:
    """Every file is the committed one, all sums fit, and the selection is that of just these chunks."""
    run.ledger.verify()
    stand = run.status
    assert (stand.complete, stand.balanced, stand.selected) == (True, True, True), stand.problem
    result = run.ledger.selection()["result"]
    decided = [row["keep"] for row in run.table("decisions")]
    assert sum(result["kept"].values()) == sum(decided)
    assert sum(result["dropped"].values()) == len(decided) - sum(decided)
    assert result["images"] == len(run.table("corpus"))


@pytest.mark.slow
def test_no_trace_is_left(run: Run) -> None:
    folder = run.ledger.folder
    select(folder, run.recipe.select.model_copy(update={"threshold": 0.05}), name="loose")
    select(folder, run.recipe.select)
    find_duplicates(folder, radius=4, similarity=0.5)
    (url, first), (_, second), (_, third), (kept_url, kept) = list(uids(run).items())[:4]
    MarkBook(folder).mark(first, 0, "as it was seen", False)
    (run.out / "report.html").write_text("thumbnails")
    (run.out / "images" / ".tmp-0123").write_text(second)
    digest = next(row["sha256"] for row in run.table("images") if row["uid"] == third)
    failed = run.table("failures")[0]
    words = [word for uid in (first, second, third, failed["uid"]) for word in words_of(run, uid)]
    words += ["as it was seen", "thumbnails"]
    assert {trace.partition("/")[0] for trace in traces(run.out, words)} >= {
        *("images", "captions", "failures", "decisions", "corpus", "selections", "duplicates", "marks"),
    }
    shouted = failed["url"].replace("http://", "HTTP://").replace(".org", ".ORG:80") + "#top"
    found = forget(folder, [("url", url), ("uid", second), ("sha256", digest.upper()), ("url", shouted)])
    assert traces(run.out, words) == []
    assert (found.images, found.failures, found.texts) == (3, 1, {"synthetic": 3, "web": 3})
    assert run.status.failures["forgotten"] == 4
    assert traces(run.out, [kept_url, kept])
    check_books(run)


@pytest.mark.slow
def test_what_is_left_is_what_it_was(run: Run) -> None:
    folder, before = run.ledger.folder, tree(run.out)
    gone = next(iter(uids(run).values()))
    rows = {name: run.table(name) for name in ("images", "captions", "decisions", "corpus")}
    forget(folder, [("uid", gone)])
    for name, old in rows.items():
        assert run.table(name) == [row for row in old if row["uid"] != gone]
    untouched = {name for name in before if "000000" not in name} - {".lock", "selection.toml"}
    assert {name: before[name] for name in untouched} == {name: tree(run.out)[name] for name in untouched}
    images = pq.read_table(run.out / "images/000000.parquet")
    assert json.loads(images.schema.metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}


def test_a_domain_and_all_below_it(run: Run) -> None:
    found = forget(run.ledger.folder, [("domain", "Example.ORG.")])
    left = [row["url"] for name in ("images", "failures") for row in run.table(name) if row["url"]]
    assert found.images + found.failures == 14
    assert {host_of(url) for url in left} == {"pictures.test"}
    assert traces(run.out, ["example.org"]) == []
    check_books(run)


@pytest.mark.slow
def test_again_changes_nothing(run: Run) -> None:
    folder, url = run.ledger.folder, next(iter(uids(run)))
    forget(folder, [("url", url)])
    before = tree(run.out)
    found = forget(folder, [("url", url)])
    assert (found.images, found.failures) == (0, 0)
    assert tree(run.out) == before
    select(folder, run.recipe.select)  # finds nothing to do
    assert tree(run.out) == before


def test_a_dry_run_only_looks(run: Run) -> None:
    folder, url = run.ledger.folder, next(iter(uids(run)))
    before = tree(run.out)
    found = forget(folder, [("url", url)], dry_run=True)
    assert tree(run.out) == before
    done = forget(folder, [("url", url)])
    assert found == done
    assert found.images == 1


class Killed(BaseException):
    """The power went."""


class Dying(Folder):
    """A folder that stops taking writes after so many."""

    left: ClassVar[int] = 0

    def write(self, name: str, data: bytes) -> None:
        self._count()
        super().write(name, data)

    def delete(self, name: str) -> None:
        self._count()
        super().delete(name)

    @staticmethod
    def _count() -> None:
        if Dying.left == 0:
            raise Killed
        Dying.left -= 1


@pytest.mark.slow
def test_killed_anywhere_it_is_finished_later(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(pairs(9)).finish()
    folder = run.ledger.folder
    select(folder, run.recipe.select, name="mine")
    find_duplicates(folder, radius=4, similarity=0.5)
    forget(folder, [("uid", list(uids(run).values())[5])])  # so that the key is the same in all copies
    names = [("url", next(iter(uids(run)))), ("url", next(row["url"] for row in run.table("failures") if row["url"]))]
    perfect, copy = tmp_path / "perfect", tmp_path / "copy"
    shutil.copytree(run.out, perfect)
    forget(Folder.at(perfect), names)
    for writes in range(100):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run.out, copy)
        half, Dying.left = Run(copy, run.source, run.rows), writes
        try:
            forget(Dying.at(copy), names)
        except Killed:
            assert writes == 0 or half.ledger.forgetting
            if half.ledger.forgetting:
                with pytest.raises(IntegrityError):
                    half.ledger.balance()
            if writes % 2:
                finish_forgetting(half.ledger)  # as `capfilt run` does
            else:
                forget(Folder.at(copy), names)
        if writes:
            assert tree(copy) == tree(perfect), writes
        if Dying.left:
            break
    assert 15 < writes < 99
    check_books(half)


def test_a_row_not_worked_yet_is_left_alone(
    make_run: MakeRun,
) -> None:
    """Forgotten before its chunk is done, or after: the same bytes."""
    rows = pairs(6)
    early, late = make_run(rows, "early"), make_run(rows, "late")
    for run in (early, late):
        (chunk,) = run.plan()
        Tombstones(KEY).write(run.ledger.folder)
        if run is early:
            assert forget(run.ledger.folder, [("url", rows[2].url)]).images == 0
        run.commit(chunk)
    assert forget(late.ledger.folder, [("url", rows[2].url)]).images == 1
    for name in ("images", "captions", "failures", "forgotten.json"):
        assert tree(early.out / name) == tree(late.out / name)
    assert early.status.failures == {"forgotten": 1}


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A web server that gives every picture, below /to/ by a redirect, and notes what was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{web.server_port}/{self.path[4:]}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            found = self.path.endswith(".jpg")
            self.send_response(200 if found else 404)
            body = picture(int(self.path[1:-4])) if found else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}", asked
        web.shutdown()


def test_it_is_never_fetched_again(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    address, asked = server
    source = tmp_path / "urls.csv"
    source.write_text("url,text\n" + "".join(f"{address}/{n}.jpg,text {n}\n" for n in range(3)))
    run = Run(tmp_path / "out", source)
    (chunk,) = run.plan()
    forget(run.ledger.folder, [("url", f"{address}/1.jpg")])
    port = int(address.rpartition(":")[2])
    rows = Tombstones.of(run.ledger.folder).apply(read(chunk))
    rows = fetch(rows, FetchSettings(allow_private=("127.0.0.0/8",), ports=(port,)))
    assert rows["reason"].to_pylist() == [None, "forgotten", None]
    assert {path for path in asked if path.endswith(".jpg")} == {"/0.jpg", "/2.jpg"}


def test_the_host_that_a_redirect_led_to_is_forgotten(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    address, _ = server
    port = address.rpartition(":")[2]
    source = tmp_path / "urls.csv"
    links = [f"http://localhost:{port}/to/{n}.jpg" for n in range(2)]
    source.write_text("url,text\n" + "".join(f"{url},text\n" for url in (*links, f"http://localhost:{port}/2.jpg")))
    run = Run(tmp_path / "out", source, settings=('fetch.allow_private=["127.0.0.0/8"]', f"fetch.ports=[{port}]"))
    (chunk,) = run.plan()
    run.commit(chunk)
    found = run.table("images")
    assert [row["redirect_hosts"] for row in found] == [["127.0.0.1"], ["127.0.0.1"], None]
    assert forget(run.ledger.folder, [("domain", "127.0.0.1")]).images == 2
    assert [row["url"] for row in run.table("images")] == [f"http://localhost:{port}/2.jpg"]
    assert run.status.failures == {"forgotten": 2}
    assert traces(run.out, [row["uid"] for row in found if row["redirect_hosts"]]) == []
    again = Tombstones.of(run.ledger.folder).apply(read(chunk))  # before it is fetched
    assert again["reason"].to_pylist() == ["forgotten", "forgotten", None]


def test_a_redirect_to_a_forgotten_host_is_not_committed(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    address, _ = server
    port = address.rpartition(":")[2]
    source = tmp_path / "urls.csv"
    source.write_text(f"url,text\nhttp://localhost:{port}/to/1.jpg,a text\n")
    run = Run(tmp_path / "out", source, settings=('fetch.allow_private=["127.0.0.0/8"]', f"fetch.ports=[{port}]"))
    (chunk,) = run.plan()
    forget(run.ledger.folder, [("domain", "127.0.0.1")])
    run.commit(chunk)
    assert run.status.failures == {"forgotten": 1}


def shards(folder: Path, files: dict[str, bytes], kind: str) -> Path:
    """The files as a folder of pictures, or as a tar shard with a text each."""
    if kind == "folder":
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
            (folder / name).with_suffix(".txt").write_text(f"about {name}")
        return folder
    folder.mkdir(parents=True)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name, data in files.items():
            for member, content in ((name, data), (f"{name.rpartition('.')[0]}.txt", b"about")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return folder / "a.tar"


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_names_leave_the_plan(
    kind: str,
    tmp_path: Path,
) -> None:
    names = [f"anna/passport-{n}.jpg" if kind == "folder" else f"anna-passport-{n}.jpg" for n in range(4)]
    source = shards(tmp_path / "in", {name: picture(n) for n, name in enumerate(names)}, kind)
    run = Run(tmp_path / "out", source).finish()
    gone = next(row for row in run.table("images") if "passport-2" in row["source"])
    (chunk,) = run.ledger.read_plan()
    assert traces(run.out, ["passport-2"])
    found = forget(run.ledger.folder, [("uid", gone["uid"])])
    assert traces(run.out, ["passport-2", gone["uid"], gone["sha256"]]) == []
    assert traces(run.out, ["passport-1"])
    assert list(found.inputs.values()) == [1]
    check_books(run)
    assert run.ledger.read_plan()[0].rows == chunk.rows
    again = read(run.ledger.read_plan()[0])
    assert again["reason"].to_pylist() == [None, None, "forgotten", None]
    assert again["source"].to_pylist()[3] == read(chunk)["source"].to_pylist()[3]


def test_a_redo_that_a_killed_retry_left(run: Run) -> None:
    """It is carried out first, and then what was forgotten is in none of it."""
    folder, uid = run.ledger.folder, next(iter(uids(run).values()))
    names = [f"{table}/000000.parquet" for table in ("failures", "images", "captions", "commits")]
    files = {name: folder.read(name) for name in names}
    for name in names[:3]:
        folder.write(name, b"half of it")
    write_transaction(folder, "000000", files)
    forget(folder, [("uid", uid)])
    assert traces(run.out, [uid]) == []
    assert not list((run.out / "redo").iterdir())
    check_books(run)


@pytest.mark.slow
def test_who_had_used_it(run: Run, tmp_path: Path) -> None:
    folder = run.ledger.folder
    select(folder, run.recipe.select.model_copy(update={"threshold": 0.85}), name="strict")
    export(folder, str(tmp_path / "gift"), "parquet", FORMATS["parquet"]())
    kept = {row["uid"] for row in run.table("corpus")}
    uid = next(uid for uid in uids(run).values() if uid in kept)
    found = forget(folder, [("uid", uid)])
    users = {use.name: (use.images, use.texts) for use in found.used_by}
    assert users == {
        "selection corpus/ (policy blip)": (1, 1),
        "selection strict (policy blip)": (1, 1),
        f"export {tmp_path / 'gift'} (parquet)": (1, None),
    }
    assert found.inputs == {str(run.source): 1}


def test_the_same_bytes_elsewhere_are_named(
    make_run: MakeRun,
) -> None:
    run = make_run([Pair(f"http://a/{n}", picture(min(n, 2))) for n in range(5)]).finish()
    (digest,) = {row["sha256"] for row in run.table("images") if row["url"] == "http://a/4"}
    found = forget(run.ledger.folder, [("url", "http://a/2")])
    assert found.same_bytes == {digest: 2}
    assert forget(run.ledger.folder, [("sha256", digest)]).images == 2
    assert run.status.images == 2


def test_files_of_others_that_name_it_are_told(run: Run) -> None:
    url = next(iter(uids(run)))
    (run.out / "notes").mkdir()
    (run.out / "notes" / "mine.csv").write_text(f"url\n{url}\n")
    assert forget(run.ledger.folder, [("url", url)]).named_in == ["notes/mine.csv"]


def test_groups_without_their_representative_are_no_groups(
    make_run: MakeRun,
) -> None:
    rows = [Pair(f"http://a/{n}", picture(n // 3, 64 + n), (f"a text {n}", "b" * n)) for n in range(9)]
    run = make_run(rows).finish()
    folder = run.ledger.folder
    find_duplicates(folder, radius=4, similarity=0.8)
    table = run.table("duplicates")
    images = [row for row in table if "run" in row]
    assert [row["group"] for row in images] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    forget(folder, [("uid", images[0]["uid"]), ("uid", images[4]["uid"])])
    left = [row for row in run.table("duplicates") if "run" in row]
    assert left == [images[3], images[5], *images[6:]]
    assert find_duplicates(folder, radius=4, similarity=0.8).images.rows == 2 + 2 + 3


def test_mistakes_are_one_line_and_touch_nothing(run: Run, tmp_path: Path) -> None:
    before = tree(run.out)
    for names, words in (
        ([], "nothing to forget"),
        ([("uid", "123")], "--uid '123': expected 32 hex digits"),
        ([("sha256", "zz")], "--sha256 'zz': expected 64 hex digits"),
        ([("domain", "http://example.org/")], "--domain"),
    ):
        with pytest.raises(ConfigError, match=words):
            forget(run.ledger.folder, names)
    with pytest.raises(InputError, match="no run here"):
        forget(Folder.at(tmp_path / "nowhere"), [("uid", "0" * 32)])
    assert not (tmp_path / "nowhere").exists()
    assert tree(run.out) | {".lock": b""} == before | {".lock": b""}


def test_books_that_do_not_fit_are_not_touched(run: Run) -> None:
    (run.out / "captions/000001.parquet").unlink()
    with pytest.raises(IntegrityError):
        forget(run.ledger.folder, [("url", next(iter(uids(run))))])
    assert not (run.out / "forgotten.json").exists()


def test_names() -> None:
    assert canonical(" HTTP://Example.ORG:80/A?b=C#d ") == "http://example.org/A?b=C"
    assert canonical("https://example.org:8443/") == "https://example.org:8443/"
    assert canonical("http://[bad/") == "http://[bad/"
    assert host_of("https://B\u00fccher.example/x") == "xn--bcher-kva.example"
    assert read_name("domain", "b\u00fccher.example") == "xn--bcher-kva.example"
    stones = Tombstones(KEY)
    assert stones.hash("url", "x") != Tombstones("cd" * 32).hash("url", "x")


@pytest.mark.slow
def test_the_command(run: Run) -> None:
    done = invoke("forget", run.out, "--domain", "example.org", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "would be forgotten" in done.output
    assert "selection corpus/ (policy blip)" in done.output
    assert max(map(len, done.output.splitlines())) < 120
    done = invoke("forget", run.out, "--domain", "example.org")
    assert done.exit_code == 0
    assert invoke("status", run.out).exit_code == 0
    assert invoke("forget", run.out).exit_code == 2
    assert invoke("forget", run.out, "--uid", "1").exit_code == 2
