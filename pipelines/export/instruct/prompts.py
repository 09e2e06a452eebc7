"""What a language model is told, so that it writes talks about an image it does not see.

The context of an image are its captions and its regions with their boxes. Two images with talks that people wrote
stand before it as examples (LLaVA, appendix: few-shot in context).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Form = Literal["conversation", "detail", "reasoning"]
Turns = list[tuple[str, str]]
"""Questions with their answers."""

FORMS: Final[tuple[Form, ...]] = ("conversation", "detail", "reasoning")

ROLE: Final = (
    "You write training data for an assistant that looks at pictures. You are given captions of one picture, and"
    " regions of it with their boxes: left, top, right and bottom as shares of its width and height. You cannot see the"
    " picture yourself. Write as somebody who sees it: never mention captions, regions, boxes or their numbers, and"
    " state nothing that they do not support. Say where things are in words."
)

TASKS: Final[Mapping[Form, str]] = {
    "conversation": (
        "Write a conversation of three to five turns between a person who asks about the picture and the assistant."
        " Ask only what has a definite answer: what is there, what kind, how many, which color, what somebody does,"
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
class Example:
    """An image, and what is written about it in each form."""

    captions: Sequence[Mapping[str, Any]]  # text and box, as in `corpus/`
    conversation: Turns
    detail: str
    reasoning: Turns

    def answer(self, form: Form) -> str:
        """What the model should have written."""
        if form == "detail":
            return self.detail
        turns = self.conversation if form == "conversation" else self.reasoning
        return json.dumps([{"question": question, "answer": answer} for question, answer in turns])


EXAMPLES: Final = (
    Example(
        captions=(
            {"text": "A woman in a yellow raincoat waits at a bus stop with her dog.", "box": None},
            {"text": "A dog sits on wet pavement beside a woman in a raincoat.", "box": None},
            {"text": "a woman in a yellow raincoat", "box": [0.4, 0.17, 0.62, 0.94]},
            {"text": "a small brown dog", "box": [0.64, 0.68, 0.79, 0.95]},
            {"text": "a folded umbrella in her left hand", "box": [0.57, 0.5, 0.64, 0.88]},
        ),
        conversation=[
            ("What is the woman wearing?", "She is wearing a yellow raincoat."),
            ("What animal is with her?", "A small brown dog sits beside her."),
            ("On which side of her is the dog in the picture?", "The dog is to the right of her."),
            ("Is her umbrella open?", "No, she holds it folded."),
        ],
        detail=(
            "A woman in a yellow raincoat stands near the middle of the picture, waiting at a bus stop. She holds a"
            " folded umbrella in her left hand. To the right of her, close to the lower edge, a small brown dog sits on"
            " the wet pavement."
        ),
        reasoning=[
            (
                "Has the rain probably stopped?",
                "The pavement is wet and the woman wears a raincoat, so it has rained not long ago. But she keeps her"
                " umbrella folded while she waits, which she would hardly do in the rain. So it has probably stopped.",
            )
        ],
    ),
    Example(
        captions=(
            {"text": "Two children build a tower of wooden blocks on a rug.", "box": None},
            {"text": "A tall tower of blocks that leans to one side.", "box": None},
        ),
        conversation=[
            ("How many children are there?", "There are two children."),
            ("What are they building?", "They are building a tower."),
            ("What is it made of?", "It is made of wooden blocks."),
        ],
        detail=(
            "Two children are playing on a rug. They are building a tower out of wooden blocks, which is tall already"
            " and leans to one side."
        ),
        reasoning=[
            (
                "What may happen if they add another block?",
                "The tower is tall and leans already. Each block on top moves more of its weight to that side, so it"
                " may well fall over.",
            )
        ],
    ),
)


def messages(form: Form, captions: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The chat that asks for a form.

    Args:
        captions: of the image, as in `corpus/`: text, and box or null.
    """
    asked = [{"role": "system", "content": f"{ROLE}\n\n{TASKS[form]}"}]
    for example in EXAMPLES:
        asked += [
            {"role": "user", "content": context(example.captions)},
            {"role": "assistant", "content": example.answer(form)},
        ]
    return [*asked, {"role": "user", "content": context(captions)}]


def context(captions: Sequence[Mapping[str, Any]]) -> str:
    """All that is known of an image, in words."""
    whole = [f"- {one['text']}" for one in captions if one["box"] is None]
    parts = [f"- {one['text']}: [{', '.join(f'{at:.2f}' for at in one['box'])}]" for one in captions if one["box"]]
    sections = {"Captions:": whole, "Regions:": parts}
    return "\n".join("\n".join([title, *lines]) for title, lines in sections.items() if lines)
