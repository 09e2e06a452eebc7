"""One training step of LLaVA: the language model goes on behind an image's patches, in a caption or an answer."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from capfilt.models.normalize import normalize
from capfilt.models.systems.llava.system import NEXT
from capfilt.models.systems.llava.tiles import tokens_of
from capfilt.models.systems.llava.turns import Said, Turn, given_ids, padded, row
from capfilt.models.systems.parts.lm_loss import lm_loss
from capfilt.models.systems.parts.words import ended
from capfilt.models.training.batch import Batch, TalkBatch, shaped
from capfilt.models.training.group import Group
from capfilt.models.training.task import Task


class LlavaTask(Task):
    """A LLaVA with its objective: LM of captions (stage 1) or of answers (stage 2).

    Args:
        max_tokens: of a caption or an answer.
        room: tokens of text that the language model has positions for, beside those of an image; 0 = no limit. The last
            questions of a talk that is longer are left out.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        turn: Turn,
        max_tokens: int,
        room: int = 0,
        seed: int = 0,
        group: Group | None = None,
    ) -> None:
        super().__init__(seed, group)
        self.model, self.turn, self.max_tokens, self.room = model, turn, max_tokens, room
        self.words, self.images = processor.tokenizer, processor.image_processor

    def forward(self, batch: Batch | TalkBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss a learned token of all workers, of this worker's part."""
        device = self.model.lm_head.weight.device
        said = self._said(batch)
        learned = sum(len(told) for one in said for _, told in one)
        pixels, counts = self._seen(batch.images)
        own = zip(said[self.group.part(len(said))], counts, strict=True)
        rows = [row(self.words, one, count) for one, count in own]
        ids, labels, mask = (torch.tensor(values, device=device) for values in padded(rows, self._pad))
        logits = self.model(input_ids=ids, attention_mask=mask, **pixels).logits
        loss = lm_loss(logits, labels, learned, self.group)
        return loss, {"lm": loss.detach()}

    def _seen(self, images: Tensor) -> tuple[dict[str, Tensor], list[int]]:
        """What the model takes of images uint8 [b, S, S, 3 or 4], and the tokens of each."""
        config, device = self.model.config, self.model.lm_head.weight.device
        if config.model_type != NEXT:
            mean, std = self.images.image_mean, self.images.image_std
            pixels = normalize(images.to(device), torch.float32, mean, std)
            return {"pixel_values": pixels}, [int(config.image_seq_length)] * len(images)
        # The library's own tiles: they are what a captioner is shown.
        pictures = [Image.fromarray(image.numpy()) for image in shaped(images)]
        made = self.images(pictures, return_tensors="pt")
        vision, points = config.vision_config, config.image_grid_pinpoints
        side, patch = int(vision.image_size), int(vision.patch_size)
        counts = [tokens_of(high, wide, points, side, patch) for high, wide in made["image_sizes"].tolist()]
        return {name: made[name].to(device) for name in ("pixel_values", "image_sizes")}, counts

    @property
    def _pad(self) -> int:
        return int(self.words.pad_token_id)

    def _said(self, batch: Batch | TalkBatch) -> list[Said]:
        """What is given and what is learned, of the pairs of all workers."""
        if isinstance(batch, Batch):
            return [[(self.turn.prefix(), self._told(text))] for text in batch.texts]
        return [self._fitting(talk) for talk in batch.talks]

    def _fitting(self, talk: list[tuple[str, list[tuple[str, float]]]]) -> Said:
        """The first questions of a talk, with an answer each, as many as there is room for; one at least."""
        said: list[tuple[str, list[int]]] = []
        left = self.room
        for question, answers in talk:
            prefix, told = self.turn.prefix(question, not said), self._told(self._drawn(answers))
            left -= len(given_ids(self.words, prefix, not said)) + len(told)
            if said and self.room and left < 0:
                break
            said.append((prefix, told))
        return said

    def _told(self, text: str) -> list[int]:
        return ended(self.words, text, self.max_tokens)

    def _drawn(self, answers: list[tuple[str, float]]) -> str:
        """One of the answers, by how often each was given."""
        weights = torch.tensor([weight for _, weight in answers])
        return answers[int(torch.multinomial(weights, 1, generator=self.generator))][0]
