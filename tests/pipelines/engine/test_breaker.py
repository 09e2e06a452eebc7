"""A run of which nearly everything fails in one way ends after that chunk, with one line that says where to look."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from capfilt.cli import app
from capfilt.core.config import RunLimits
from capfilt.core.errors import RunFailed
from capfilt.core.schema import Reason
from capfilt.demo.world import jpeg, web_rows
from capfilt.pipelines.engine.breaker import Breaker
from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome
from capfilt.pipelines.engine.chunk.symptoms import Captions, Symptoms
from web_server import QuietHandler, QuietServer, serving
from whole_run import commits

ROWS = 450
CHUNKS = 3
PLAIN = ("caption.n=0", "score.judges=[]", "select.policy=all")
LOOPBACK = (
    "engine.kind=local",
    "input.chunk_rows=150",
    "fetch.allow_private=['127.0.0.0/8']",
    "fetch.ports=[]",
    "fetch.retries=0",
    "fetch.per_host_rate=0",
    "fetch.opt_out=[]",
)
SORRY = "I'm sorry, I can't help with that."


class Handler(QuietHandler):
    """GET: a picture, or 404 for three numbers of ten under /rotten/. POST: a chat model that refuses, or is mute."""

    picture = jpeg(web_rows(1, seed=5)[0][0], 64)

    def do_GET(self) -> None:
        if self.path.endswith("/models"):
            self.reply(200, json.dumps({"data": [{"id": "tiny"}]}).encode())
        elif self.path.startswith("/rotten/") and int(self.path[-1]) < 3:
            self.reply(404, b"")
        else:
            self.reply(200, self.picture)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        said = SORRY if self.path.startswith("/sorry") else ""
        choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        self.reply(200, json.dumps({"choices": [choice]}).encode())


@pytest.fixture
def url() -> Iterator[str]:
    with serving(QuietServer(Handler)) as server:
        yield server.url


@pytest.fixture
def listed(tmp_path: Path) -> Callable[[str, str], Path]:
    """A list of `ROWS` URLs of one site and folder, with a text and a title each."""

    def write(site: str, folder: str) -> Path:
        path = tmp_path / "list.jsonl"
        rows = ({"url": f"{site}/{folder}/{n}", "title": f"dog no {n}", "text": "a dog"} for n in range(ROWS))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def capfilt(*words: str, sets: tuple[str, ...] = ()) -> Result:
    return CliRunner().invoke(app, [*words, *(word for value in sets for word in ("--set", value))])


def the_line(done: Result) -> str:
    """The one line on standard error."""
    assert done.exit_code == 1, done.output
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    (line,) = lines
    return line


def test_a_wrong_column_ends_a_run_and_max_failures_1_goes_on(
    url: str, listed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    run = ("run", str(listed(url, "good")), "--out", str(tmp_path / "out"))
    sets = (*PLAIN, *LOOPBACK, "input.url=title")
    line = the_line(capfilt(*run, sets=sets))
    assert line.startswith("error: stopped: 300 of the latest 300 rows failed as ")
    assert "dog no " in line
    assert "look at input.url; --set run.max_failures=1 goes on" in line
    assert commits(tmp_path / "out") == 2
    last = the_line(capfilt(*run, sets=(*sets, "run.max_failures=1")))
    assert last.startswith(f"error: no image at all: {ROWS} of {ROWS} rows failed as ")
    assert "look at input.url" in last
    assert commits(tmp_path / "out") == CHUNKS
    assert the_line(capfilt("status", str(tmp_path / "out"))) == last


def test_a_dead_network_ends_a_run(listed: Callable[[str, str], Path], tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound and never listening: nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        path = listed(f"http://127.0.0.1:{closed.getsockname()[1]}", "good")
        line = the_line(capfilt("run", str(path), "--out", str(tmp_path / "out"), sets=(*PLAIN, *LOOPBACK)))
    assert "300 of the latest 300 rows failed, " in line
    assert "look at the network of this machine" in line
    assert commits(tmp_path / "out") == 2


@pytest.mark.parametrize(("model", "said"), [("sorry", f"most refused ({SORRY!r})"), ("mute", "most empty")])
def test_a_captioner_that_says_nothing_ends_a_run(
    model: str, said: str, url: str, listed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    run = ("run", str(listed(url, "good")), "--out", str(tmp_path / "out"))
    sets = (f"caption.captioner={url}/{model}/v1", "score.judges=[]", "select.policy=all", *LOOPBACK)
    line = the_line(capfilt(*run, sets=sets))
    assert line.startswith("error: stopped: 300 of the latest 300 captions by ")
    assert said in line
    assert "look at caption.captioner, caption.prompt" in line
    assert line.endswith("--set run.max_refusals=1 goes on; committed chunks are kept")
    assert commits(tmp_path / "out") == 2
    assert capfilt(*run, sets=(*sets, "run.max_refusals=1")).exit_code == 0
    assert commits(tmp_path / "out") == CHUNKS


def test_a_run_with_30_percent_dead_links_is_left_alone(
    url: str, listed: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path = listed(url, "rotten")
    done = capfilt("run", str(path), "--out", str(tmp_path / "out"), sets=(*PLAIN, *LOOPBACK))
    assert done.exit_code == 0, done.output
    assert commits(tmp_path / "out") == CHUNKS


def test_a_run_without_one_text_ends_with_exit_code_1_unless_none_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(Handler.picture)
    for out, more, code in (("a", (), 1), ("b", ("input.text=none",), 0)):
        folder = str(tmp_path / out)
        sets = (*PLAIN, "engine.kind=local", *more)
        ran, stood = capfilt("run", str(tmp_path / "in"), "--out", folder, sets=sets), capfilt("status", folder)
        assert (ran.exit_code, stood.exit_code) == (code, code), ran.output
        assert ("no text at all: 1 images" in ran.stderr, "look at input.text" in stood.stderr) == (code == 1,) * 2


def chunk(rows: int, captions: dict[str, Captions] | None = None, **reasons: int) -> ChunkOutcome:
    symptoms = Symptoms({reason: "its detail" for reason in reasons}, captions or {})
    return ChunkOutcome("000000", rows, rows - sum(reasons.values()), 0, reasons, {}, {}, "", symptoms, rows)


def broken(rows: int, error: str) -> ChunkOutcome:
    return ChunkOutcome("000000", 0, 0, 0, {}, {}, {}, error, planned=rows)


def test_chunks_that_all_end_in_an_error_stop_a_run() -> None:
    full = "commit: OSError: [Errno 28] No space left on device"
    breaker = Breaker(RunLimits())
    breaker.hear(broken(2000, full))  # one chunk may have met a passing fault, however large it is
    with pytest.raises(RunFailed, match=r"4000 of the latest 4000 rows are in chunks that failed \(commit: OSError"):
        breaker.hear(broken(2000, full))
    allowed = Breaker(RunLimits(max_failures=1))
    for _ in range(4):
        allowed.hear(broken(1000, full))


def test_one_broken_chunk_among_good_ones_stops_no_run() -> None:
    breaker = Breaker(RunLimits())
    for outcome in (chunk(250), broken(250, "decode: ValueError: x"), chunk(250), broken(250, "decode: ValueError: x")):
        breaker.hear(outcome)


def test_many_ways_of_failing_stop_a_run_only_where_nearly_all_rows_fail() -> None:
    Breaker(RunLimits()).hear(chunk(1000, http_404=250, http_403=200, dns=100, not_an_image=250))
    with pytest.raises(RunFailed, match="950 of the latest 1000 rows failed, 300 as http_404"):
        Breaker(RunLimits()).hear(chunk(1000, http_404=300, http_403=250, dns=150, not_an_image=250))


def test_failures_of_the_network_count_together() -> None:
    with pytest.raises(RunFailed, match="540 of the latest 1000 rows failed, 240 as host_down"):
        Breaker(RunLimits()).hear(chunk(1000, timeout=150, connect=150, host_down=240))


def test_the_share_is_that_of_the_latest_1000_rows() -> None:
    breaker = Breaker(RunLimits())
    for _ in range(20):
        breaker.hear(chunk(250))
    for _ in range(2):
        breaker.hear(chunk(250, http_403=250))
    with pytest.raises(RunFailed, match="750 of the latest 1000 rows failed as http_403"):
        breaker.hear(chunk(250, http_403=250))


def test_fewer_than_200_rows_say_nothing_and_forgotten_rows_never_do() -> None:
    breaker = Breaker(RunLimits())
    breaker.hear(chunk(199, http_403=199))
    Breaker(RunLimits()).hear(chunk(500, forgotten=500))
    with pytest.raises(RunFailed):
        breaker.hear(chunk(1, http_403=1))


def test_each_captioner_is_counted_by_itself() -> None:
    good, mute = Captions(300, 0), Captions(300, 290, "empty")
    Breaker(RunLimits()).hear(chunk(300, {"good@1": good}))
    with pytest.raises(RunFailed, match="290 of the latest 300 captions by mute@2 are unusable, most empty"):
        Breaker(RunLimits()).hear(chunk(300, {"good@1": good, "mute@2": mute}))


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_says_where_to_look(reason: Reason) -> None:
    assert reason.look_at
