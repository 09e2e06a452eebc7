"""LLaVA's three instruction forms, written by a language model that is told the captions of an image.

As in section 3 of the LLaVA paper (Liu et al. 2023) the writer does not see the image: what it knows are the kept
texts. Here these are captions that a filter let pass, and no boxes.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from capfilt.core.clients.endpoint import Endpoint
from capfilt.core.errors import RunFailed
from capfilt.models.captioners.openai_answers import Answer
from capfilt.models.captioners.openai_client import ChatClient, EndpointFailed
from capfilt.pipelines.stages.caption_checks import without_thoughts

Form = Literal["conversation", "detail", "reasoning"]
Turns = list[tuple[str, str]]
"""Questions with their answers."""

FORMS: Final[tuple[Form, ...]] = ("conversation", "detail", "reasoning")

ROLE: Final = (
    "You write training data for an assistant that looks at pictures. You are given captions of one picture, which you"
    " cannot see yourself. Write as somebody who sees it: never mention captions or descriptions, and state nothing"
    " that they do not support."
)

TASKS: Final[dict[Form, str]] = {
    "conversation": (
        "Write a conversation of three to five turns between a person who asks about the picture and the assistant."
        " Ask only what has a definite answer: what is there, what kind, how many, which colour, what somebody does,"
        " what is where. Answer with nothing but JSON:"
        ' [{"question": "...", "answer": "..."}, ...]'
    ),
    "detail": "Describe the picture in detail, in one paragraph. Answer with the description alone.",
    "reasoning": (
        "Write one question about the picture that is answered by thinking, not by looking alone: why, what for, what"
        " next, what follows; and an answer that explains its steps. Answer with nothing but JSON:"
        ' [{"question": "...", "answer": "..."}]'
    ),
}

REQUESTS: Final = (
    "Describe this picture in detail.",
    "What can be seen here? Give a full account.",
    "Tell me everything this picture shows.",
    "Please give a thorough description of this image.",
    "Explain in detail what is in this photo.",
)
"""What a person says to get a detailed description; one an image, drawn by its uid."""


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
        texts = "\n".join(f"- {text['text']}" for text in row["captions"])
        messages = [
            {"role": "system", "content": f"{ROLE}\n\n{TASKS[form]}"},
            {"role": "user", "content": f"The captions:\n{texts}"},
        ]
        seed = int(hashlib.sha256(f"{form}|{row['uid']}".encode()).hexdigest()[:8], 16) >> 1
        return {"model": self.model, "messages": messages, "temperature": 0.2, "seed": seed, "max_tokens": 1024}


def _turns(form: Form, uid: str, answer: Answer) -> Turns | str:
    if answer.end == "refused":
        return "refused"
    if answer.end == "length":
        return "breaks off"
    return _READ[form](uid, without_thoughts(answer.text)[0].strip())


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
