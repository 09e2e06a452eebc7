"""LLaVA's three instruction forms, written by a language model that is told the captions of an image.

As in section 3 of the LLaVA paper (Liu et al. 2023) the writer does not see the image: what it knows are the kept
texts, those about a part of the image with their boxes.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from capfilt.core.clients.endpoint import Endpoint
from capfilt.core.errors import RunFailed
from capfilt.models.captioners.openai_answers import Answer
from capfilt.models.captioners.openai_client import ChatClient, EndpointFailed
from capfilt.pipelines.export.instruct.prompts import REQUESTS, Form, Turns, messages
from capfilt.pipelines.stages.caption_checks import without_thoughts


@dataclass(frozen=True, slots=True)
class Writer:
    """A language model that writes instructions."""

    client: ChatClient
    model: str

    @classmethod
    def at(cls, url: str, model: str = "", key_env: str = "", concurrency: int = 16) -> Self:
        """The model that a server serves.

        Args:
            url: base address, such as http://localhost:8000/v1.
            model: "" = the only one it serves.
            key_env: environment variable with the key; "" = none is sent.

        Raises:
            ModelError: no server there, or it does not serve the model, or there is no key.
        """
        client = ChatClient(url, Endpoint(model=model, key_env=key_env, concurrency=concurrency, logprobs=False))
        return cls(client, client.model())

    def write(self, form: Form, rows: Sequence[dict[str, Any]]) -> list[Turns | str]:
        """For each row its turns, or in words why there are none.

        Raises:
            RunFailed: the server does not answer any more.
        """
        try:
            answers = self.client.ask([self._question(form, row) for row in rows])
        except EndpointFailed as error:
            raise RunFailed(f"{error}; re-run the same command to resume") from error
        return [_turns(form, row["uid"], answer) for row, answer in zip(rows, answers, strict=True)]

    def _question(self, form: Form, row: dict[str, Any]) -> dict[str, Any]:
        seed = int(hashlib.sha256(f"{form}|{row['uid']}".encode()).hexdigest()[:8], 16) >> 1
        return {
            "model": self.model,
            "messages": messages(form, row["captions"]),
            "temperature": 0.2,
            "seed": seed,
            "max_tokens": 1024,
        }


_BOX: Final = re.compile(r"[\[(]\s*[01]?\.\d+\s*,")
"""What begins the numbers of a box."""


def _turns(form: Form, uid: str, answer: Answer) -> Turns | str:
    if answer.end == "refused":
        return "refused"
    if answer.end == "length":
        return "breaks off"
    turns = _READ[form](uid, without_thoughts(answer.text)[0].strip())
    if not isinstance(turns, str) and any(_BOX.search(part) for turn in turns for part in turn):
        return "tells a box"  # which nobody who sees the image could know
    return turns


def _described(uid: str, text: str) -> Turns | str:
    return [(REQUESTS[int(uid, 16) % len(REQUESTS)], text)] if text else "empty"


def _asked(uid: str, text: str) -> Turns | str:
    """Questions and answers out of JSON, which may stand in a fence or between words."""
    found = re.search(r"\[.*\]", text, re.DOTALL)
    try:
        pairs = json.loads(found[0]) if found else None
        turns = [(str(pair["question"]).strip(), str(pair["answer"]).strip()) for pair in pairs or ()]
    except (ValueError, KeyError, TypeError):
        turns = []
    return turns if turns and all(all(turn) for turn in turns) else "no questions and answers in JSON"


_READ: Final[dict[Form, Callable[[str, str], Turns | str]]] = {
    "conversation": _asked,
    "detail": _described,
    "reasoning": _asked,
}
