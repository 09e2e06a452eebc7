"""A model behind a server as a captioner.

Every caption is a question of its own, with its own seed, so that a server that honors `seed` gives one caption one
random stream; none promises the same text in other company, and none is promised here. `min_tokens` is not sent: the
protocol has no such word. It has none for top_k and repetition_penalty either, which vLLM and SGLang understand: they
are sent where the recipe sets them.
"""

import base64
import io
import re
from typing import Any

from PIL import Image

from capfilt.core.errors import ModelError
from capfilt.models.captioners.openai_answers import Answer
from capfilt.models.captioners.openai_client import ChatClient, digest_of
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Caption, Decoding, ImageInput
from capfilt.models.runtime import Placement

QUALITY = 90
"""Of the JPEG that an image travels as."""
BEYOND = ("top_k", "repetition_penalty")
"""Words of decoding that OpenAI's own servers refuse."""
# A server may refuse single images by its rules. Refusing one after another, in the same words, it refuses the request,
# and a run would have ended with no caption at all.
MOST_REFUSED = 16
MOST_REFUSED_AT_FIRST = 2
"""Images in a row, all refused by status and before the server has answered anything."""


class EndpointCaptioner:
    """Asks an OpenAI-compatible server; images are scaled down to `Placement.max_side` before they travel."""

    def __init__(self, url: str, placement: Placement) -> None:
        self.client = ChatClient(url, placement.endpoint)
        self.name = self.client.model()
        self.digest = digest_of(self.name)
        self.pixels = PixelSpec(placement.max_side, "fit")
        self.shots = [(_content(shot.picture), shot.text) for shot in placement.shots]
        self.answered = False  # at least once
        self.refused = 0  # images in a row

    def caption(
        self, images: ImageInput, seeds: list[list[int]], prompt: str, decoding: Decoding
    ) -> list[list[Caption]]:
        """As many captions of each image as it has seeds; a question that the server refuses gives an empty one.

        Raises:
            EndpointFailed: no answer to a question after all tries.
            ModelError: the server refuses image after image, in the same words.
        """
        bodies = []
        for image, own in zip(images, seeds, strict=True):
            messages = self._messages(_content(Image.fromarray(image.numpy())), prompt)
            bodies += [self._body(messages, seed, decoding) for seed in own]
        answers = iter(self.client.ask(bodies))
        told = [[next(answers) for _ in own] for own in seeds]
        for own_answers in told:
            self._count(own_answers)
        return [[_caption(answer) for answer in own_answers] for own_answers in told]

    def _count(self, answers: list[Answer]) -> None:
        """Keep count of images in a row that were refused for one reason; digits in it may differ.

        Raises:
            ModelError: there are so many that the reason is no image's.
        """
        reasons = {re.sub(r"\d+", "#", answer.why) for answer in answers}
        if not answers or "" in reasons:
            self.answered = self.answered or any(answer.end != "refused" for answer in answers)
            self.refused = 0
            return
        self.refused += 1
        if self.refused >= (MOST_REFUSED if self.answered else MOST_REFUSED_AT_FIRST):
            raise ModelError(
                f"captioner {self.client.url}: {self.refused} images in a row were refused: {answers[0].why}"
            )

    def _messages(self, image: dict[str, Any], prompt: str) -> list[dict[str, Any]]:
        """The examples, each a question with its answer, and the question about an image."""
        words = [{"type": "text", "text": prompt}] if prompt else []
        told = [
            turn
            for example, text in self.shots
            for turn in ({"role": "user", "content": [example, *words]}, {"role": "assistant", "content": text})
        ]
        return [*told, {"role": "user", "content": [image, *words]}]

    def _body(self, messages: list[dict[str, Any]], seed: int, decoding: Decoding) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": messages,
            "max_tokens": decoding.max_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": seed & 0x7FFFFFFF,  # all that every server takes
        }
        more = {
            name: getattr(decoding, name) for name in BEYOND if getattr(decoding, name) != getattr(Decoding(), name)
        }
        return body | more | ({"logprobs": True} if self.client.settings.logprobs else {})


def _content(image: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}


def _caption(answer: Answer) -> Caption:
    flags = {"refused": ("refused",), "length": ("cut",)}.get(answer.end, ())
    return Caption(answer.text.strip(), answer.logprob, flags)
