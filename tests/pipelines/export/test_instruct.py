"""LLaVA's instruction forms, written by a real server on loopback that is as unreliable as servers are."""

import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from capfilt.core.errors import ModelError, RunFailed
from capfilt.models.captioners.openai_client import ChatClient
from capfilt.models.pixels import PixelSpec
from capfilt.models.runtime import Endpoint
from capfilt.pipelines.export.export import export
from capfilt.pipelines.export.instruct.prompts import EXAMPLES, FORMS, REQUESTS, Form, context, messages
from capfilt.pipelines.export.instruct.writer import Writer
from capfilt.pipelines.export.llava import LlavaFormat
from capfilt.pipelines.training_data.pairs import Wanted, load_pairs
from command_line import invoke
from staged_run import Run, tree

TURNS = [{"question": "What is there?", "answer": "Soft colours."}, {"question": "Where?", "answer": "By the sea."}]


@dataclass
class Server:
    """What the server was asked, and how it answers."""

    address: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0
    answer: Callable[[int, dict[str, Any]], tuple[int, str]] = lambda number, body: (200, talk(body))


def form_of(body: dict[str, Any]) -> str:
    system = body["messages"][0]["content"]
    return "detail" if "paragraph" in system else "reasoning" if "thinking" in system else "conversation"


def talk(body: dict[str, Any]) -> str:
    """A good answer to each form, wrapped as models like to."""
    form = form_of(body)
    if form == "detail":
        return "  A long account of soft colours by the sea.\n"
    return f"Here you are:\n```json\n{json.dumps(TURNS if form == 'conversation' else TURNS[:1])}\n```"


@pytest.fixture
def server() -> Iterator[Server]:
    state, lock = Server(), threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": "writer-1"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state.asked.append(body)
                state.keys.add(self.headers.get("Authorization"))
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
                number = len(state.asked)
            status, text = state.answer(number, body)
            with lock:
                state.at_once -= 1
            message = {"role": "assistant", "content": text}
            self._send(status, {"choices": [{"message": message, "finish_reason": "stop"}]})

        def _send(self, status: int, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        state.address = f"http://127.0.0.1:{web.server_port}/v1"
        yield state
        web.shutdown()


def writer(server: Server, **more: Any) -> Writer:
    """A writer that waits hardly at all between two tries."""
    settings = {"backoff": 0.001, "retries": 3, "concurrency": 4, **more}
    return Writer(ChatClient(server.address, Endpoint(logprobs=False, **settings)), "writer-1")


def write(run: Run, to: Path, **more: Any) -> None:
    export(run.ledger.folder, str(to), "llava", LlavaFormat(FORMS, **more), shard_rows=6)


def test_three_forms(run: Run, server: Server, tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> tuple[int, str]:
        time.sleep(0.02)  # so that others come meanwhile
        return (503, "") if number % 5 == 1 else (200, talk(body))

    server.answer = answer
    write(run, tmp_path / "set", writer=writer(server))
    kept = {row["uid"]: row for row in run.table("corpus")}
    for form, turns in (("conversation", 2), ("detail", 1), ("reasoning", 1)):
        found = json.loads((tmp_path / "set" / f"{form}.json").read_bytes())
        assert [sample["id"] for sample in found] == list(kept)
        for sample in found:
            assert [turn["from"] for turn in sample["conversations"]] == ["human", "gpt"] * turns
            values = [turn["value"] for turn in sample["conversations"]]
            assert [value.count("<image>") for value in values] == [1] + [0] * (2 * turns - 1)
            assert (tmp_path / "set/images" / sample["image"]).is_file()
    detail = json.loads((tmp_path / "set/detail.json").read_bytes())
    assert {sample["conversations"][0]["value"].removeprefix("<image>\n") for sample in detail} <= set(REQUESTS)
    assert detail[0]["conversations"][1]["value"] == "A long account of soft colours by the sea."
    assert json.loads((tmp_path / "set/failures.json").read_bytes()) == []
    told = pq.read_table(tmp_path / "set/talks.parquet").to_pylist()
    assert [(row["uid"], row["form"]) for row in told] == [(uid, form) for form in FORMS for uid in kept]
    assert told[0]["turns"] == TURNS
    assert {row["turns"][0]["question"] for row in told if row["form"] == "detail"} <= set(REQUESTS)
    pairs = load_pairs(
        [str(run.out / "corpus")],
        Wanted(column="talks", talks=str(tmp_path / "set/talks.parquet"), pixels=PixelSpec(16)),
    )
    assert (len(pairs), pairs.texts.count(), pairs.left_out) == (len(kept), 3 * len(kept), {})
    assert 1 < server.most_at_once <= 4
    body = server.asked[0]
    texts = [text["text"] for row in kept.values() for text in row["captions"]]
    assert all(line.removeprefix("- ") in texts for line in body["messages"][-1]["content"].splitlines()[1:])
    assert (body["model"], server.keys) == ("writer-1", {None})


def test_answers_that_cannot_be_used_are_rows_of_their_own(run: Run, server: Server, tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> tuple[int, str]:
        if form_of(body) == "detail":
            return (400, "") if "number 0 " in body["messages"][-1]["content"] else (200, talk(body))
        return 200, "I would rather not [say] this"

    server.answer = answer
    write(run, tmp_path / "set", writer=writer(server))
    failures = json.loads((tmp_path / "set/failures.json").read_bytes())
    count = len(run.table("corpus"))
    reasons = Counter((failure["form"], failure["reason"]) for failure in failures)
    unreadable = "no questions and answers in JSON"
    assert reasons == {("conversation", unreadable): count, ("reasoning", unreadable): count, ("detail", "refused"): 1}
    assert json.loads((tmp_path / "set/conversation.json").read_bytes()) == []
    assert len(json.loads((tmp_path / "set/detail.json").read_bytes())) == count - 1


def test_what_was_written_is_not_asked_for_again(run: Run, server: Server, tmp_path: Path) -> None:
    write(run, tmp_path / "whole/set", writer=writer(server))
    needed, server.asked = len(server.asked), []
    server.answer = lambda number, body: (500, "") if number > 20 else (200, talk(body))
    with pytest.raises(RunFailed, match="re-run the same command to resume"):
        write(run, tmp_path / "half/set", writer=writer(server))
    done = sum(path.read_bytes().count(b"\n") for path in (tmp_path / "half/set/parts").rglob("*-*.jsonl"))
    assert done >= 6
    server.asked, server.answer = [], lambda number, body: (200, talk(body))
    write(run, tmp_path / "half/set", writer=writer(server))
    assert len(server.asked) == needed - done
    assert tree(tmp_path / "half") == tree(tmp_path / "whole")


def test_the_key_is_sent_and_kept_nowhere(
    run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITER_KEY", "sesame-1234")
    write(run, tmp_path / "set", writer=writer(server, key_env="WRITER_KEY"))
    assert server.keys == {"Bearer sesame-1234"}
    for folder in (tmp_path / "set", run.out):
        assert not [path for path in folder.rglob("*") if path.is_file() and b"sesame" in path.read_bytes()]


def test_the_command(run: Run, server: Server, tmp_path: Path) -> None:
    arguments = ["export", str(run.out), "--to", str(tmp_path / "set"), "--format", "llava", "--instruct", "detail"]
    done = invoke(*arguments, "--endpoint", server.address)
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "set/detail.json").read_bytes())) == len(run.table("corpus"))
    assert not (tmp_path / "set/conversation.json").exists()
    assert invoke(*arguments).exit_code == 2


def test_no_server_is_one_line(server: Server) -> None:
    assert Writer.at(server.address).model == "writer-1"
    with pytest.raises(ModelError):
        Writer.at(server.address, model="other")
    with pytest.raises(ModelError):
        Writer.at("http://127.0.0.1:9/v1")


def test_the_writer_is_told_captions_and_boxes() -> None:
    captions = [
        {"text": "a cat on a sofa", "box": None},
        {"text": "a gray cat", "box": [0.1, 0.25, 0.504, 1.0]},
        {"text": "a red cushion", "box": [0.6, 0.5, 0.75, 0.7]},
    ]
    assert context(captions).splitlines() == [
        "Captions:",
        "- a cat on a sofa",
        "Regions:",
        "- a gray cat: [0.10, 0.25, 0.50, 1.00]",
        "- a red cushion: [0.60, 0.50, 0.75, 0.70]",
    ]
    assert context(captions[1:]).splitlines()[0] == "Regions:"
    assert context(captions[:1]) == "Captions:\n- a cat on a sofa"


@pytest.mark.parametrize("form", FORMS)
def test_worked_examples_stand_before_the_image(server: Server, form: Form) -> None:
    chat = messages(form, [{"text": "a cat", "box": None}])
    assert [one["role"] for one in chat] == ["system", *["user", "assistant"] * len(EXAMPLES), "user"]
    assert "Regions:" in chat[1]["content"]
    assert "Regions:" not in chat[-1]["content"]
    # What the examples show is an answer that can be read, of the form that is asked for.
    for example, one in zip(EXAMPLES, chat[2::2], strict=True):
        server.answer = lambda number, body, said=one["content"]: (200, said)
        (turns,) = writer(server).write(form, [{"uid": "0" * 32, "captions": list(example.captions)}])
        assert turns == {"detail": [(REQUESTS[0], example.detail)]}.get(form, getattr(example, form))


def test_an_answer_that_tells_a_box_is_not_used(server: Server) -> None:
    server.answer = lambda number, body: (200, "A cat sits at [0.10, 0.25, 0.50, 1.00] on a sofa.")
    (told,) = writer(server).write("detail", [{"uid": "0" * 32, "captions": [{"text": "a cat", "box": None}]}])
    assert told == "tells a box"
