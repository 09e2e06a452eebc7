"""One training step of Flamingo: the language model goes on behind each image of an episode, in its text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from capfilt.models.normalize import normalize
from capfilt.models.systems.flamingo.episodes import episode, in_episodes
from capfilt.models.systems.parts.language_info import IGNORED
from capfilt.models.systems.parts.lm_loss import lm_loss
from capfilt.models.systems.parts.words import ended
from capfilt.models.training.batch import Batch
from capfilt.models.training.group import Group
from capfilt.models.training.task import Task


class FlamingoTask(Task):
    """A Flamingo with its objective: LM of texts behind their images.

    Args:
        images: of an episode.
        pixels: mean and standard deviation.
    """

    def __init__(
        self,
        model: Any,
        words: Any,
        images: int,
        pixels: tuple[Sequence[float], Sequence[float]],
        max_tokens: int,
        seed: int = 0,
        group: Group | None = None,
    ) -> None:
        super().__init__(seed, group)
        self.model, self.words, self.images, self.max_tokens = model, words, images, max_tokens
        self.mean, self.std = pixels

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss a learned token of all workers, of this worker's part."""
        texts = [ended(self.words, text, self.max_tokens) for text in batch.texts]
        logits, labels = self.read(batch.images, texts[self.group.part(len(texts))])
        loss = lm_loss(logits, labels, sum(map(len, texts)), self.group)
        return loss, {"lm": loss.detach()}

    def read(self, images: Tensor, texts: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Logits [E, T, V] and labels [E, T] of uint8 images [b, S, S, 3] and their texts, in E episodes."""
        device = self.model.lm_head.weight.device
        together = in_episodes([len(text) for text in texts], self.images)
        rows = [episode(self.words, [texts[number] for number in one]) for one in together]
        shape, most = (len(rows), max(len(row.ids) for row in rows)), max(map(len, together))
        ids = torch.full(shape, int(self.words.pad_token_id))
        labels, sees, mask = torch.full(shape, IGNORED), torch.full(shape, -1), torch.zeros(shape, dtype=torch.int64)
        pixels = torch.zeros(len(rows), most, 3, *images.shape[1:3], device=device)
        for number, (row, one) in enumerate(zip(rows, together, strict=True)):
            own = slice(len(row.ids))
            ids[number, own], labels[number, own] = torch.tensor(row.ids), torch.tensor(row.labels)
            sees[number, own], mask[number, own] = torch.tensor(row.sees), 1
            pixels[number, : len(one)] = normalize(images[one].to(device), torch.float32, self.mean, self.std)
        seen = (sees[:, :, None] == torch.arange(most)).long()  # [E, T, K]
        given = {"input_ids": ids, "attention_mask": mask, "image_attention_mask": seen}
        moved = {name: tensor.to(device) for name, tensor in given.items()}
        return self.model(**moved, pixel_values=pixels, use_cache=False).logits, labels.to(device)
