"""One training step of LLaVA: the language model goes on behind an image's patches, in a caption or an answer."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.models.normalize import normalize
from capfilt.models.systems.llava.turns import IGNORED, Turn, padded, row
from capfilt.models.training.batch import Batch, QuestionBatch
from capfilt.models.training.group import Group
from capfilt.models.training.task import Task


class LlavaTask(Task):
    """A LLaVA with its objective: LM of captions (stage 1) or of answers (stage 2)."""

    def __init__(
        self,
        model: Any,
        words: Any,
        turn: Turn,
        pixels: tuple[Sequence[float], Sequence[float]],
        max_tokens: int,
        seed: int = 0,
        group: Group | None = None,
    ) -> None:
        super().__init__(seed, group)
        self.model, self.words, self.turn, self.max_tokens = model, words, turn, max_tokens
        self.mean, self.std = pixels

    def forward(self, batch: Batch | QuestionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss a learned token of all workers, of this worker's part."""
        device = self.model.lm_head.weight.device
        patches = int(self.model.config.image_seq_length)
        rows = [row(self.words, prefix, told, patches, self.max_tokens) for prefix, told in self._said(batch)]
        learned = sum(label != IGNORED for one in rows for label in one.labels)
        ids, labels, mask = (
            torch.tensor(values, device=device) for values in padded(rows[self.group.part(len(rows))], self._pad)
        )
        images = normalize(batch.images.to(device), torch.float32, self.mean, self.std)
        logits = self.model(input_ids=ids, pixel_values=images, attention_mask=mask).logits
        loss = F.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        )
        loss = loss * self.group.size / learned  # over the tokens of all workers, which all know
        return loss, {"lm": loss.detach()}

    @property
    def _pad(self) -> int:
        return int(self.words.pad_token_id)

    def _said(self, batch: Batch | QuestionBatch) -> list[tuple[str, str]]:
        """What stands before, and what is learned, of the pairs of all workers."""
        if isinstance(batch, Batch):
            return [(self.turn.prefix(), text) for text in batch.texts]
        return [
            (self.turn.prefix(question), self._drawn(answers))
            for question, answers in zip(batch.questions, batch.answers, strict=True)
        ]

    def _drawn(self, answers: list[tuple[str, float]]) -> str:
        """One of the answers, by how often each was given."""
        weights = torch.tensor([weight for _, weight in answers])
        return answers[int(torch.multinomial(weights, 1, generator=self.generator))][0]
