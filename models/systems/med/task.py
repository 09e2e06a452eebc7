"""One training step of MED: pixels and texts in, weighted losses out.

Dimensions: B pairs of all workers together, b of this worker, Q pairs in the queue, E feature width, T tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from capfilt.models.med.cache import KeysValues
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.systems.med.momentum import FeatureQueue, MomentumEncoders
from capfilt.models.tokenizer import CLS, DEC, ENC, Tokenizer
from capfilt.models.training.batch import Batch, pair_codes, same_pairs
from capfilt.models.training.group import Group
from capfilt.models.training.objectives import (
    clamp_temperature,
    hard_negatives,
    hard_targets,
    itc_loss,
    itm_loss,
    lm_loss,
    replace_tokens,
    soft_cross_entropy,
    soft_targets,
)
from capfilt.models.training.settings import Objectives
from capfilt.models.training.synonyms import meanings
from capfilt.models.training.task import Task


class Similarity(NamedTuple):
    """How alike the pairs of a batch are, both [B, B]: rows are images and columns texts, and the other way round."""

    by_image: Tensor
    by_text: Tensor


class MEDTask(Task):
    """A MED with its objectives; its state dict is all that training changes, random numbers included.

    Args:
        epoch: steps per epoch, the unit of `objectives.ramp`.
    """

    def __init__(
        self,
        model: MED,
        tokenizer: Tokenizer,
        objectives: Objectives,
        seed: int = 0,
        group: Group | None = None,
        epoch: int = 1,
    ) -> None:
        super().__init__(seed, group)
        self.model = model
        self.tokenizer = tokenizer
        self.objectives = objectives
        self.ramp_steps = round(objectives.ramp * epoch)
        self.slow = MomentumEncoders(model, objectives.momentum) if objectives.momentum else None
        self.alpha = 0.0
        self.meanings = meanings(tokenizer)
        self.queue = FeatureQueue(objectives.queue, model.config.projection) if objectives.momentum else None

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to go back from, and each objective's value, both of this worker's part."""
        wanted, device = self.objectives, self.model.temperature.device
        self.alpha = self.alpha_at(batch.step)
        pixels = normalize(batch.images.to(device), torch.float32)
        states = self.model.encode_image(pixels)
        codes = pair_codes(batch.keys, batch.texts).to(device)
        losses: dict[str, Tensor] = {}
        near = None
        if wanted.itc or wanted.itm:
            losses["itc"], near = self._contrast(pixels, states, batch.texts, codes)
        image = self.model.text.project_image_kv(states)
        if wanted.itm and near is not None:
            losses["itm"] = self._match(states, image, batch, same_pairs(codes, codes).cpu(), near)
        if wanted.token_itm:
            losses["token_itm"] = self._match_tokens(image, batch.texts)
        if wanted.lm:
            losses["lm"] = self._predict(image, batch.texts)
        total = torch.stack([getattr(wanted, name) * loss for name, loss in losses.items()]).sum()
        return total, {name: loss.detach() for name, loss in losses.items()}

    def after_update(self) -> None:
        """What follows each update of the weights: the momentum encoders do."""
        if self.slow is not None:
            self.slow.follow(self.model)

    def alpha_at(self, step: int) -> float:
        """Share of the target mass that the momentum encoders give away at a step, 0-based."""
        return self.objectives.alpha * min(1.0, step / self.ramp_steps if self.ramp_steps else 1.0)

    def _contrast(self, pixels: Tensor, states: Tensor, texts: list[str], codes: Tensor) -> tuple[Tensor, Similarity]:
        """ITC, within the batch or with momentum encoders and queue."""
        ids, mask = self._encode(self._own(texts), CLS)
        image, text = self.model.image_feature(states), self.model.text_feature(ids, mask)
        temperature = clamp_temperature(self.model.temperature)
        if self.slow is not None and self.queue is not None:
            slow_image, slow_text = map(self.group.gather, self.slow.features(pixels, ids, mask))
            return self._distil(image, text, slow_image, slow_text, codes, temperature)
        part = self.group.part(len(codes))
        similarity = self.group.gather(image) @ self.group.gather(text).T / temperature
        same = same_pairs(codes, codes)[part]
        loss = itc_loss(similarity[part], similarity.T[part], same, same)
        return loss, Similarity(similarity, similarity.T)

    def _distil(
        self, image: Tensor, text: Tensor, slow_image: Tensor, slow_text: Tensor, codes: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Similarity]:
        """ITC of this worker's features against the momentum features of all workers and of the queue."""
        assert self.queue is not None
        part, size = self.group.part(len(codes)), len(codes)
        images, texts, others = self.queue.candidates(slow_image, slow_text, codes)
        target = hard_targets(same_pairs(codes[part], others), image)
        with torch.no_grad():
            teach_image, teach_text = slow_image[part] @ texts.T / temperature, slow_text[part] @ images.T / temperature
            to_text, to_image = (soft_targets(target, teacher, self.alpha) for teacher in (teach_image, teach_text))
        by_image, by_text = image @ texts.T / temperature, text @ images.T / temperature
        loss = (soft_cross_entropy(by_image, to_text) + soft_cross_entropy(by_text, to_image)) / 2
        self.queue.push(slow_image, slow_text, codes)
        return loss, Similarity(*(self.group.gather(rows[:, :size].detach()) for rows in (by_image, by_text)))

    def _match(self, states: Tensor, image: list[KeysValues], batch: Batch, same: Tensor, near: Similarity) -> Tensor:
        """1 true pair to 2 hard negatives (wrong text, wrong image), and the texts that people marked as wrong."""
        part = self.group.part(len(same))
        texts, images = hard_negatives(near.by_image.cpu(), self._excluded(same), self.generator, near.by_text.cpu())
        texts, images, rows = texts[part], images[part], torch.arange(len(same))[part]
        # As many for every image: the texts of an image share one place on its query axis, so all images need the same
        # number.
        most = min((len(wrong) for wrong in batch.wrong), default=0)
        flat = [
            text
            for row, other in zip(rows.tolist(), texts.tolist(), strict=True)
            for text in (batch.texts[row], batch.texts[other], *(batch.wrong[row][:most] if most else ()))
        ]
        match = torch.zeros(len(rows), 2 + most, dtype=torch.bool)
        match[:, 0] = True
        match[:, 1] = same[rows, texts]
        logits = self.model.itm_logits(*self._encode(flat, ENC), image)
        swapped = self.model.itm_logits(
            *self._encode(self._own(batch.texts), ENC), self._image_kv_of(states, image, images)
        )
        truth = torch.cat((match.flatten(), same[images, rows]))
        return itm_loss(torch.cat((logits, swapped)), truth.to(logits.device))

    def _excluded(self, same: Tensor) -> Tensor:
        """bool [B, B], what is no negative: true matches, and other workers' pairs if so wanted."""
        if self.objectives.negatives == "all" or self.group.size == 1:
            return same
        worker = torch.arange(len(same)) // (len(same) // self.group.size)
        return same | (worker[:, None] != worker[None])

    def _image_kv_of(self, states: Tensor, image: list[KeysValues], rows: Tensor) -> list[KeysValues]:
        """Keys and values of the images `rows` (numbers in the whole batch), which may be other workers'."""
        if self.group.size == 1:
            return [KeysValues(kv.keys[rows], kv.values[rows]) for kv in image]
        if self.objectives.negatives == "worker":
            own = rows - self.group.rank * len(states)
            return [KeysValues(kv.keys[own], kv.values[own]) for kv in image]
        return self.model.text.project_image_kv(self.group.gather(states)[rows])

    def _match_tokens(self, image: list[KeysValues], texts: list[str]) -> Tensor:
        """ITM token by token: of a text with some tokens replaced, which ones do not fit the image?

        One yes or no a text says little; with a yes or no a token the encoder learns details from far fewer images
        (the idea of ELECTRA, Clark et al. 2020, with the image as context). The first token answers for the whole.
        """
        ids, mask = self._encode(texts, ENC)
        count = mask.sum() / self.group.size
        changed = replace_tokens(ids, mask, self.generator, meanings=self.meanings)
        part = self.group.part(len(texts))
        ids, mask, changed = ids[part], mask[part], changed[part]
        fits = changed == ids
        fits[:, 0] = fits.all(1)
        logits = self.model.itm_head(self.model.text.encode(changed, mask, image))
        return itm_loss(logits[mask], fits[mask], count)

    def _predict(self, image: list[KeysValues], texts: list[str]) -> Tensor:
        """LM, the mean over the learned tokens of all workers."""
        prompt = self.objectives.prompt
        ids, _ = self._encode([f"{prompt} {text}" for text in texts] if prompt else texts, DEC)
        given = len(self.tokenizer.prompt(prompt))
        count = None if self.group.size == 1 else ids[:, given:].ne(0).sum() / self.group.size
        ids = ids[self.group.part(len(texts))]
        return lm_loss(self.model.lm_logits(ids, image), ids, self.objectives.smoothing, given, count)

    def _own(self, texts: list[str]) -> list[str]:
        return texts[self.group.part(len(texts))]

    def _encode(self, texts: Sequence[str], first: str) -> tuple[Tensor, Tensor]:
        device = self.model.temperature.device
        ids, mask = self.tokenizer.encode(texts, first, self.objectives.max_tokens)
        return ids.to(device), mask.to(device)
