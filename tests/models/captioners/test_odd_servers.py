"""Servers as they are: each answers in its own way, and each way ends as a caption, a flag or one line."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from capfilt.core.errors import ModelError
from capfilt.models.captioners import openai_answers, openai_client
from capfilt.models.captioners.endpoint import _caption
from capfilt.models.captioners.openai_answers import ErrorBody, pause_of, read_answer
from capfilt.models.captioners.openai_client import EndpointFailed
from capfilt.models.protocols import Caption, Decoding
from capfilt.models.registry import registry
from command_line import invoke

Reply = tuple[int, dict[str, str], bytes]
DECODING = Decoding(max_tokens=20)


def plain(content: object, **more: object) -> bytes:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"} | more
    return json.dumps({"choices": [choice]}).encode()


class Script:
    """What a server answers, and what it was asked."""

    def __init__(self) -> None:
        self.post: Callable[[dict[str, Any]], Reply] = lambda body: (200, {}, plain("a brown dog"))
        self.get: Reply = (200, {}, json.dumps({"data": [{"id": "tiny"}]}).encode())
        self.bodies: list[dict[str, Any]] = []


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(script.get)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            script.bodies.append(body)
            self.reply(script.post(body))

        def reply(self, reply: Reply) -> None:
            status, headers, data = reply
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def ask(url: str, images: int = 1, **endpoint: Any) -> list[Caption]:
    settings = registry.Endpoint(**{"backoff": 0.001, "retries": 2, "timeout": 5.0} | endpoint)
    captioner = registry.load_captioner(url, registry.Placement(max_side=64, endpoint=settings))
    pictures = [torch.zeros(20, 20 + n, 3, dtype=torch.uint8) for n in range(images)]
    return [own[0] for own in captioner.caption(pictures, [[n] for n in range(images)], "", DECODING)]


STREAM = (
    b': ping\n\ndata: {"choices": [{"delta": {"role": "assistant"}}]}\n\n'
    b'data: {"choices": [{"delta": {"content": "a brown "}}]}\n\n'
    b'data: {"choices": [{"delta": {"content": "dog"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize(
    "data",
    [
        plain("a brown dog"),
        plain([{"type": "text", "text": "a brown dog"}]),
        plain([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "a brown "}, "dog"]),
        plain("a brown dog", logprobs={"content": [{"token": "a", "logprob": None}]}),
        plain("a brown dog", logprobs={"content": None}),
        plain("a brown dog", logprobs={"content": [{"token": "a", "logprob": float("nan")}, "a"]}),
        plain("a brown dog", logprobs={"content": [{"token": "a", "logprob": float("-inf")}]}),
        plain([{"type": "thinking", "text": "hm"}, {"text": "hm", "thought": True}, {"text": "a brown dog"}]),
        plain("a brown dog", logprobs=None, finish_reason=None),
        json.dumps({"choices": [{"text": "a brown dog", "finish_reason": "stop"}]}).encode(),
        STREAM,
        STREAM.replace(b', "finish_reason": "stop"', b""),
        b"\xef\xbb\xbf" + plain("a brown dog"),
    ],
)
def test_an_answer_is_read_whatever_its_form(data: bytes) -> None:
    answer = read_answer(data)
    assert (answer.text, answer.logprob) == ("a brown dog", None)


@pytest.mark.parametrize(
    ("end", "flags"),
    [
        ("length", ("cut",)),
        ("max_tokens", ("cut",)),
        ("MAX_TOKENS", ("cut",)),
        ("content_filter", ("refused",)),
        ("SAFETY", ("refused",)),
        ("eos", ()),
    ],
)
def test_an_end_is_known_by_every_name(end: str, flags: tuple[str, ...]) -> None:
    assert _caption(read_answer(plain("a brown", finish_reason=end))).flags == flags


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"content": None, "reasoning_content": "I see a dog."}, ""),
        ({"content": "a dog", "reasoning_content": "I see a dog."}, "a dog"),
        ({"content": None, "refusal": "I cannot help."}, ""),
    ],
)
def test_what_is_beside_an_answer_is_no_caption(said: dict[str, Any], text: str) -> None:
    data = json.dumps({"choices": [{"message": said, "finish_reason": "stop"}]}).encode()
    assert read_answer(data).text == text


def test_a_stream_that_breaks_off_is_asked_again(script: Script, url: str) -> None:
    broken = iter([STREAM.partition(b"data: [DONE]")[0].replace(b', "finish_reason": "stop"', b""), STREAM[:150]])
    script.post = lambda body: (200, {}, next(broken, STREAM))
    assert ask(url)[0].text == "a brown dog"
    assert len(script.bodies) == 3


def test_a_login_page_in_the_place_of_an_answer_is_quoted(script: Script, url: str) -> None:
    script.post = lambda body: (200, {"Content-Type": "text/html"}, b"<html><title>Log in</title></html>")
    with pytest.raises(EndpointFailed, match=r"cannot be read .*3 times: <html><title>Log in"):
        ask(url)


def test_an_address_without_v1_is_told_what_most_have(script: Script, url: str) -> None:
    script.post = lambda body: (404, {}, b'{"detail": "Not Found"}')
    base = url.removesuffix("/v1")
    with pytest.raises(ModelError, match=r"HTTP 404: Not Found \(most servers' URLs end with /v1\)"):
        ask(base, model="tiny")
    with pytest.raises(ModelError, match=r"HTTP 404: Not Found$"):
        ask(url, model="tiny")
    script.get = (404, {}, b"")
    with pytest.raises(ModelError, match=r"set endpoint\.model \(most servers' URLs end with /v1\)"):
        ask(base)


def test_a_key_that_expires_after_some_answers_ends_the_work(script: Script, url: str) -> None:
    script.post = lambda body: (200, {}, plain("a dog")) if body["seed"] < 2 else (401, {}, b"key expired")
    with pytest.raises(ModelError, match="HTTP 401: key expired"):
        ask(url, images=8, concurrency=1)
    assert len(script.bodies) <= 4


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"choices": None, "error": {"message": "overloaded", "code": 503}}, 503, "overloaded"),
        ({"choices": [], "error": "overloaded"}, 0, "overloaded"),
        ({"choices": [{"error": {"message": "bad image", "code": 400}, "finish_reason": "error"}]}, 400, "bad image"),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "error"}]}, 0, "error"),
        ({"detail": "no such adapter"}, 0, "no such adapter"),
        ({"success": False, "errors": [{"code": 429, "message": "slow down"}]}, 0, "slow down"),
    ],
)
def test_an_error_in_the_place_of_an_answer_keeps_its_words(body: object, status: int, words: str) -> None:
    with pytest.raises(ErrorBody, match=words) as raised:
        read_answer(json.dumps(body).encode())
    assert raised.value.status == status


def test_an_answer_without_end_is_given_up(script: Script, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "LONGEST_ANSWER", 100_000)
    packed = gzip.compress(bytes(10_000_000))
    script.post = lambda body: (200, {"Content-Encoding": "gzip"}, packed)
    with pytest.raises(EndpointFailed, match="an answer of more than 100,000 bytes"):
        openai_client.ChatClient(url, registry.Endpoint(backoff=0.001, retries=1)).ask([{}])


def test_an_error_inside_a_200_is_an_error(script: Script, url: str) -> None:
    said = {"error": {"message": "prompt is 4096 tokens too long", "code": 400}}
    script.post = lambda body: (200, {}, json.dumps(said).encode())
    with pytest.raises(ModelError, match="2 images in a row were refused: HTTP 400: prompt is 4096 tokens too long"):
        ask(url, images=2)
    calls = iter([b'{"error": {"message": "overloaded", "code": 503}}', b'data: {"error": {"message": "x"}}\n\n'])
    script.post = lambda body: (200, {}, next(calls, plain("a brown dog")))
    assert ask(url)[0].text == "a brown dog"


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_server_that_refuses_every_image_alike_stops_the_work_with_its_words(
    script: Script, url: str, status: int
) -> None:
    script.post = lambda body: (status, {}, json.dumps({"detail": "This model has no chat template."}).encode())
    with pytest.raises(ModelError, match=f"HTTP {status}: This model has no chat template."):
        ask(url, images=3)


def test_refusals_after_answers_stop_the_work_too_but_not_those_of_single_images(script: Script, url: str) -> None:
    def by_number(body: dict[str, Any]) -> Reply:
        refused = body["seed"] % 2 if body["seed"] < 40 else True
        said = f'{{"message": "image of {body["seed"]} bytes is too large"}}'.encode()
        return (413, {}, said) if refused else (200, {}, plain("a brown dog"))

    script.post = by_number
    captions = ask(url, images=40)
    assert [c.flags for c in captions[:2]] == [(), ("refused",)]
    with pytest.raises(
        ModelError, match=r"16 images in a row were refused: HTTP 413: image of [0-9]+ bytes is too large"
    ):
        ask(url, images=80)


def test_what_a_filter_of_contents_refuses_is_never_systematic(script: Script, url: str) -> None:
    said = {"error": {"code": "content_filter", "message": "The prompt was filtered"}}
    script.post = lambda body: (400, {}, json.dumps(said).encode())
    assert {c.flags for c in ask(url, images=20)} == {("refused",)}


def test_an_exhausted_quota_is_one_line_at_once(script: Script, url: str) -> None:
    said = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}
    script.post = lambda body: (429, {"Retry-After": "30"}, json.dumps(said).encode())
    with pytest.raises(ModelError, match="HTTP 429: You exceeded your current quota"):
        ask(url)
    assert len(script.bodies) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"x-ratelimit-reset-requests": "1m30.5s"}, 90.5),
        ({"x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"retry-after": formatdate(0, usegmt=True)}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 -0000"}, 0),
        ({}, 0),
    ],
)
def test_a_pause_is_understood_in_every_form(headers: dict[str, str], seconds: float) -> None:
    assert pause_of(headers) == pytest.approx(seconds)
    later = {"retry-after": formatdate(time.time() + 4000, usegmt=True)}
    assert 2000 < pause_of(later) < 4001


def test_max_tokens_is_called_as_the_server_calls_it(script: Script, url: str) -> None:
    def new(body: dict[str, Any]) -> Reply:
        if "max_tokens" in body:
            said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, {}, json.dumps({"error": {"message": said, "param": "max_tokens"}}).encode()
        return 200, {}, plain(f"at most {body['max_completion_tokens']}")

    script.post = new
    assert [c.text for c in ask(url, images=3, retries=0, concurrency=1)] == ["at most 20"] * 3
    assert ["max_tokens" in body for body in script.bodies] == [True, False, False, False]


@pytest.mark.parametrize(
    "listing",
    [(404, {}, b"not found"), (405, {}, b""), (200, {}, b"<html></html>"), (200, {}, b'{"data": []}'), (500, {}, b"")],
)
def test_a_gateway_without_a_list_of_models_is_asked_by_the_name_given(
    script: Script, url: str, listing: Reply
) -> None:
    script.get = listing
    assert ask(url, model="house/vlm")[0].text == "a brown dog"
    assert script.bodies[0]["model"] == "house/vlm"
    with pytest.raises(ModelError, match=r"does not list its models; set endpoint\.model"):
        ask(url)


@pytest.mark.parametrize("listing", [["tiny"], {"models": [{"id": "tiny"}]}, {"data": [{"id": "tiny", "x": 1}]}])
def test_a_list_of_models_is_read_whatever_its_form(script: Script, url: str, listing: object) -> None:
    script.get = (200, {}, json.dumps(listing).encode())
    assert ask(url)[0].text == "a brown dog"


def test_a_quote_is_one_short_line() -> None:
    assert openai_answers.quote(b'{"object": "error", "message": "a\\nb"}') == "a b"
    assert openai_answers.quote(b"<html>\n <p>no</p>") == "<html> <p>no</p>"
    assert len(openai_answers.quote(b"x" * 10_000)) == openai_answers.LONGEST_QUOTE


def test_a_run_whose_server_refuses_everything_ends_before_it_is_planned(
    script: Script, url: str, tmp_path: Path
) -> None:
    script.post = lambda body: (400, {}, b'{"error": {"message": "model has no vision tower"}}')
    Image.new("RGB", (40, 30)).save(tmp_path / "one.png")
    out = tmp_path / "out"
    settings = ["--set", f"caption.captioner={url}", "--set", "score.judges=[]", "--set", "select.policy=all"]
    done = invoke("run", tmp_path, "--out", out, *settings)
    assert done.exit_code == 2
    assert "HTTP 400: model has no vision tower" in " ".join(done.stderr.split())
    assert not (out / "run.toml").exists()
