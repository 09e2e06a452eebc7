"""What servers that speak OpenAI's protocol really send, read leniently. Free of any client.

Servers differ: content as a list of parts, null log-probabilities, a stream although none was asked for, an error in a
200, a pause in seconds, milliseconds, minutes or as a date.
"""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

LONGEST_QUOTE: Final = 300
"""Characters of a server's own words in a message."""

# Asked in this order: the first says milliseconds, and the last two (OpenAI's) when a whole budget is full again.
_HEADERS: Final = ("retry-after-ms", "retry-after", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
_THOUGHTS: Final = frozenset({"thinking", "reasoning", "thought", "redacted_thinking", "reasoning_content"})
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# Of OpenAI's protocol, and of gateways that hand on those of Gemini, Anthropic and Mistral.
_CUT: Final = frozenset({"length", "max_tokens", "model_length"})
_FILTERED: Final = frozenset({"content_filter", "safety", "recitation", "prohibited_content", "blocklist", "refusal"})
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    text: str
    logprob: float | None  # natural log, summed over the tokens; None where it tells none
    end: str  # its finish_reason (stop, ...), `length` or `refused`, whatever the server calls these two
    why: str = ""  # of a refusal by status: the server's own words


class ErrorBody(Exception):
    """An error that came as an answer: status 0 where the body names none."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def read_answer(data: bytes) -> Answer:
    """The answer in the body of a 200.

    Raises:
        ErrorBody: it holds an error.
        ValueError, KeyError, IndexError, TypeError: it holds no answer.
    """
    body = _parsed(data)
    # Gateways report errors of the server behind them inside a 200, beside choices or in one of them.
    choice = (body.get("choices") or [{}])[0]
    if not choice or choice.get("error") or choice.get("finish_reason") == "error":
        said = json.dumps(choice).encode() if choice.get("error") else data
        raise ErrorBody(_status(choice) or _status(body), quote(said))
    message = choice.get("message") or {}
    text, end = _text(message.get("content", choice.get("text"))), str(choice.get("finish_reason")).lower()
    if end in _FILTERED or message.get("refusal"):
        return Answer("", None, "refused")
    return Answer(text, _logprob(choice.get("logprobs")), "length" if end in _CUT else end)


def quote(data: bytes) -> str:
    """A server's own words in one line: the message of an error body, or the body."""
    said = data.decode(errors="replace")
    try:
        body = json.loads(said)
        error = body.get("error") or next(iter(body.get("errors") or ()), None) or body
        said = error if isinstance(error, str) else str(error.get("message") or error.get("detail") or said)
    except (ValueError, AttributeError):  # no JSON, or no object
        pass
    return " ".join(said.split())[:LONGEST_QUOTE]


def pause_of(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait, by whichever header it says so; 0 = it does not ask."""
    for name in _HEADERS:
        if asked := headers.get(name, "").strip():
            return max(0.0, _seconds(asked) * (0.001 if name.endswith("-ms") else 1.0))
    return 0.0


def _seconds(asked: str) -> float:
    """Seconds of "2", "1.5", "1m30s", "20ms" or a date; 0 of anything else."""
    if re.fullmatch(r"\d{1,9}(\.\d*)?", asked):
        return float(asked)
    if re.fullmatch(rf"(?:{_SPAN.pattern})+", asked):
        return sum(float(number) * _UNITS[unit] for number, unit in _SPAN.findall(asked))
    try:
        return parsedate_to_datetime(asked).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):  # no date, or one that no clock shows
        return 0.0


def _parsed(data: bytes) -> dict[str, Any]:
    said = data.decode("utf-8-sig", errors="replace").strip()
    body = _joined(said) if said.startswith(("data:", "event:", ":")) else json.loads(said)
    if not isinstance(body, dict):
        raise TypeError("no JSON object")
    return body


def _joined(stream: str) -> dict[str, Any]:
    """A stream of events as the one answer it makes.

    Raises:
        ValueError: it broke off, and so did its text.
    """
    lines = [line.removeprefix("data:").strip() for line in stream.splitlines() if line.startswith("data:")]
    parts = [json.loads(line) for line in lines if line and line != "[DONE]"]
    if failed := [part for part in parts if part.get("error")]:  # it may come after half an answer
        return {"error": failed[0]["error"]}
    choices = [part["choices"][0] for part in parts if part.get("choices")]
    deltas = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    text = "".join(_text(delta.get("content")) for delta in deltas)
    tokens = [token for choice in choices for token in ((choice.get("logprobs") or {}).get("content") or ())]
    end = next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None)
    if end is None and "[DONE]" not in lines:
        raise ValueError("a stream without an end")
    whole = {"message": {"content": text}, "finish_reason": end, "logprobs": {"content": tokens}}
    return {"choices": [whole]}


def _text(content: Any) -> str:
    """The text of a message's content: a string, parts of which some are text, or nothing."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    found = [part if isinstance(part, str) else part.get("text") for part in parts if not _is_thought(part)]
    return "".join(part for part in found if isinstance(part, str))


def _is_thought(part: Any) -> bool:
    """Whether a part of a content says how the model came to its answer."""
    return isinstance(part, dict) and bool(part.get("thought") is True or part.get("type") in _THOUGHTS)


def _logprob(told: Any) -> float | None:
    tokens = told.get("content") if isinstance(told, dict) else None
    try:
        total = math.fsum(float(token["logprob"]) for token in tokens or ())
    except (TypeError, ValueError, KeyError, OverflowError):  # it tells some, or none, or what is no number
        return None
    return total if tokens and math.isfinite(total) else None


def _status(body: dict[str, Any]) -> int:
    error = body.get("error")
    named = [body.get("status"), body.get("code")]
    if isinstance(error, dict):
        named = [error.get("status"), error.get("code"), *named]
    return next((int(value) for value in map(str, named) if re.fullmatch(r"[45]\d\d", value)), 0)
