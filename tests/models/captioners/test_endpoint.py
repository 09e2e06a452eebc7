"""A captioner behind a server: a real one on loopback that speaks the protocol, and misbehaves when it is told to."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pytest
import torch
from PIL import Image

from capfilt.core.config import CaptionSettings, DecodeSettings
from capfilt.core.errors import ModelError
from capfilt.core.schema import ROWS, make_uid
from capfilt.core.serialization import to_toml
from capfilt.models.captioners.openai_client import EndpointFailed
from capfilt.models.protocols import Captioner, Decoding
from capfilt.models.registry import registry
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.caption import caption
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.micro_batches import MicroBatches

KEY = "sk-very-secret-0123456789"
SHAPES = [(60, 200), (128, 96), (40, 40)]
QUICK = registry.Endpoint(backoff=0.001, timeout=5.0)
DECODING = Decoding(max_tokens=20)


@dataclass
class State:
    """What the server is to do, and what it saw."""

    faults: list[str] = field(default_factory=list)  # one a question, first come first served
    always: Callable[[dict[str, Any]], str] = lambda body: ""  # a fault by what is asked
    models: tuple[str, ...] = ("tiny-vlm",)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    busy: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def picture_of(body: dict[str, Any]) -> Image.Image:
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    kind, _, data = url.partition(";base64,")
    assert kind == "data:image/jpeg"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def answer(text: str | None, end: str = "stop", logprobs: bool = True) -> dict[str, Any]:
    tokens = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.25}]}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": end, "logprobs": tokens if logprobs else None}
    return {"id": "1", "object": "chat.completion", "choices": [choice]}


class Server(BaseHTTPRequestHandler):
    state: State
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.state.keys.add(self.headers.get("Authorization", ""))
        self._send(200, json.dumps({"object": "list", "data": [{"id": name} for name in self.state.models]}).encode())

    def do_POST(self) -> None:
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.bodies.append(body)
            state.keys.add(self.headers.get("Authorization", ""))
            state.busy += 1
            state.most = max(state.most, state.busy)
            fault = state.always(body) or (state.faults.pop(0) if state.faults else "")
        time.sleep(0.02)
        with state.lock:
            state.busy -= 1
        self._answer(fault, body)

    def _answer(self, fault: str, body: dict[str, Any]) -> None:
        said = f"seed {body['seed']} of {picture_of(body).size}"
        if fault.isdigit():
            echo = f"no, not with {self.headers.get('Authorization', 'no key')}"
            self._send(int(fault), echo.encode(), {"Retry-After": "0", "Location": "http://127.0.0.1:9/v1"})
        elif fault == "no json":
            self._send(200, b"<html>a proxy says hello</html>")
        elif fault == "half":
            self._send(200, b'{"choices": [')
        elif fault == "nothing in it":
            self._send(200, b'{"choices": []}')
        elif fault == "drop":
            self.close_connection = True
            self.connection.close()
        elif fault == "hang":
            time.sleep(1.5)
            self._send(200, b"{}")
        elif fault in ("length", "content_filter"):
            self._send(200, json.dumps(answer(said, fault)).encode())
        else:
            self._send(200, json.dumps(answer(said, logprobs=body.get("logprobs", False))).encode())

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that the test cuts are no news."""


@contextmanager
def serving(state: State) -> Iterator[str]:
    server = Quiet(("127.0.0.1", 0), type("One", (Server,), {"state": state}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def url(state: State) -> Iterator[str]:
    with serving(state) as address:
        yield address


def load(url: str, endpoint: registry.Endpoint = QUICK) -> Captioner:
    return registry.load_captioner(url, registry.Placement(max_side=128, endpoint=endpoint))


def images() -> list[torch.Tensor]:
    return [torch.full((height, width, 3), 40 * n, dtype=torch.uint8) for n, (height, width) in enumerate(SHAPES)]


SEEDS = [[1, 2], [3, 4], [2**40 + 5, 6]]
SAID = [[f"seed {seed & 0x7FFFFFFF} of {(w, h)}" for seed in row] for row, (h, w) in zip(SEEDS, SHAPES, strict=True)]


def texts(captioner: Captioner) -> list[list[str]]:
    return [[c.text for c in row] for row in captioner.caption(images(), SEEDS, "what is this?", DECODING)]


def test_every_caption_is_a_question_with_its_own_seed(state: State, url: str) -> None:
    captioner = load(url)
    captions = captioner.caption(images(), SEEDS, "what is this?", Decoding(top_p=0.8, temperature=0.5, max_tokens=17))
    assert [[c.text for c in row] for row in captions] == SAID
    assert {c.logprob for row in captions for c in row} == {-1.75}
    assert {c.flags for row in captions for c in row} == {()}
    assert (captioner.name, captioner.pixels.name) == ("tiny-vlm", "fit-128")
    assert captioner.digest == registry.check(url, "captioner")
    for body in state.bodies:
        words = {key: body[key] for key in ("model", "max_tokens", "temperature", "top_p", "logprobs")}
        expected = {"model": "tiny-vlm", "max_tokens": 17, "temperature": 0.5, "top_p": 0.8, "logprobs": True}
        assert words == expected
        assert body["messages"][0]["content"][1] == {"type": "text", "text": "what is this?"}
        assert not {"n", "top_k", "repetition_penalty"} & body.keys()
    captioner.caption(images()[:1], [[1]], "", Decoding(top_k=50, repetition_penalty=1.1))
    assert (state.bodies[-1]["top_k"], state.bodies[-1]["repetition_penalty"]) == (50, 1.1)


@pytest.mark.parametrize("fault", ["429", "500", "503", "408", "no json", "half", "nothing in it", "drop"])
def test_what_may_heal_is_tried_again(state: State, url: str, fault: str) -> None:
    captioner = load(url)
    state.faults = [fault] * 4
    assert texts(captioner) == SAID
    assert len(state.bodies) == 6 + 4


def test_an_answer_that_comes_too_late_is_tried_again(state: State, url: str) -> None:
    captioner = load(url, registry.Endpoint(backoff=0.001, timeout=0.8))
    state.faults = ["hang"]
    assert texts(captioner) == SAID


def test_it_gives_up_after_the_tries_it_was_given(state: State, url: str) -> None:
    captioner = load(url, registry.Endpoint(backoff=0.001, retries=2))
    state.always = lambda body: "503" if body["seed"] == 3 else ""
    with pytest.raises(EndpointFailed, match="HTTP 503, 3 times"):
        texts(captioner)
    assert [body["seed"] for body in state.bodies].count(3) == 3


@pytest.mark.parametrize("fault", ["400", "413", "422", "content_filter"])
def test_a_question_that_is_refused_is_an_empty_caption_with_a_flag(state: State, url: str, fault: str) -> None:
    captioner = load(url)
    state.always = lambda body: fault if picture_of(body).size == (96, 128) else ""
    captions = captioner.caption(images(), SEEDS, "", DECODING)
    assert [[(c.text, c.flags) for c in row] for row in captions] == [
        [(text, ()) for text in SAID[0]],
        [("", ("refused",))] * 2,
        [(text, ()) for text in SAID[2]],
    ]
    assert len(state.bodies) == 6  # it is not asked again


def test_a_caption_that_was_cut_says_so_and_one_without_probabilities_has_none(state: State, url: str) -> None:
    state.faults = ["length"]
    captioner = load(url, registry.Endpoint(logprobs=False, concurrency=1))
    row, *_ = captioner.caption(images(), SEEDS, "", DECODING)
    assert [c.flags for c in row] == [("cut",), ()]
    assert row[1].logprob is None


@pytest.mark.parametrize("fault", ["401", "403", "404", "302"])
def test_a_wrong_setting_ends_the_work_at_once(state: State, url: str, fault: str) -> None:
    captioner = load(url)
    state.always = lambda body: fault
    with pytest.raises(ModelError, match=f"HTTP {fault}"):
        texts(captioner)
    assert len(state.bodies) <= 6


def test_no_more_questions_at_once_than_allowed(state: State, url: str) -> None:
    load(url, registry.Endpoint(concurrency=3)).caption(images()[:1], [list(range(30))], "", DECODING)
    assert state.most == 3


def test_the_key_goes_into_the_header_and_nowhere_else(state: State, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    captioner = load(url, registry.Endpoint(key_env="MY_KEY", backoff=0.001, retries=1))
    assert texts(captioner) == SAID
    assert state.keys == {f"Bearer {KEY}"}
    for fault in ("401", "500"):
        state.always = lambda body, fault=fault: fault
        with pytest.raises((ModelError, EndpointFailed)) as caught:
            texts(captioner)
        assert KEY not in str(caught.value)
    recipe = load_recipe("blip", (f"caption.captioner={url!r}", "endpoint.key_env=MY_KEY"))
    assert KEY not in to_toml(recipe.model_dump())
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ModelError, match=r"endpoint\.key_env = 'MY_KEY': no such environment variable"):
        load(url, registry.Endpoint(key_env="MY_KEY"))


@pytest.mark.parametrize("secret", ["http://me:hunter2@127.0.0.1:1/v1", "http://127.0.0.1:1/v1?key=hunter2"])
def test_an_address_with_a_secret_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(ModelError, match=r"endpoint\.key_env") as caught:
        registry.check(secret, "captioner")
    assert "hunter2" not in str(caught.value)


def test_the_server_is_asked_what_it_serves_before_any_work(state: State, url: str) -> None:
    state.models = ("one", "two")
    with pytest.raises(ModelError, match=r"endpoint\.model = ''; it serves one, two"):
        registry.check(url, "captioner")
    two = registry.Placement(endpoint=registry.Endpoint(model="two"))
    assert registry.check(url, "captioner", two) != registry.check(
        url, "captioner", registry.Placement(endpoint=registry.Endpoint(model="one"))
    )
    with pytest.raises(ModelError, match=r"its list of models cannot be read \(ClientConnectorError"):
        registry.check("http://127.0.0.1:9/v1", "captioner")
    with pytest.raises(ModelError, match="a server can caption, but not judge"):
        registry.check(url, "filter")


def rows(count: int) -> pa.Table:
    """Pictures of 30 x 20, 31 x 20, ... pixels, decoded as the server wants them."""
    made = []
    for n in range(count):
        file = io.BytesIO()
        Image.new("RGB", (130 + n, 120), (10 * n, 0, 0)).save(file, "PNG")
        uid = make_uid("list.csv", str(n), None)
        made.append({"uid": uid, "source": f"list.csv#{n}", "texts": [], "image": file.getvalue()})
    spec = registry.pixels("http://127.0.0.1:9/v1", "captioner", registry.Placement(max_side=256))
    return decode(pa.Table.from_pylist(made, ROWS), DecodeSettings(), [spec])


def test_one_picture_that_never_gets_an_answer_costs_nobody_else_anything(state: State, url: str) -> None:
    """Through the caption stage: that row becomes a failure with a reason, the chunk lands."""
    placement = registry.Placement(max_side=256, endpoint=registry.Endpoint(backoff=0.001, retries=1))
    captioner = registry.load_captioner(url, placement)
    state.always = lambda body: "500" if picture_of(body).size == (133, 120) else ""
    out = caption(rows(12), [captioner], CaptionSettings(n=1), [MicroBatches(4)])
    candidates = out["candidates"].to_pylist()
    assert [len(own) for own in candidates] == [1] * 3 + [0] + [1] * 8
    assert all(own[0]["text"].endswith(f"of ({130 + n}, 120)") for n, own in enumerate(candidates) if own)
    assert out["reason"].to_pylist()[3] == "poison"
    assert "HTTP 500, 2 times" in out["detail"].to_pylist()[3]


def test_a_server_that_is_down_fails_the_chunk_and_no_row(state: State, url: str) -> None:
    captioner = registry.load_captioner(url, registry.Placement(max_side=256, endpoint=registry.Endpoint(retries=0)))
    state.always = lambda body: "503"
    with pytest.raises(EndpointFailed):
        caption(rows(12), [captioner], CaptionSettings(n=1), [MicroBatches(4)])
