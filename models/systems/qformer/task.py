"""One training step of a Q-Former: stage 1 with texts, stage 2 with a frozen language model.

Dimensions: B pairs of all workers together, b of this worker, Q queries, E feature width, T tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.models.med.cache import KeysValues
from capfilt.models.normalize import normalize
from capfilt.models.qformer.bridge import Bridge
from capfilt.models.qformer.language import IGNORED, LanguageModel
from capfilt.models.tokenizer import CLS, DEC, Tokenizer
from capfilt.models.training.batch import Batch, pair_codes, same_pairs
from capfilt.models.training.group import Group
from capfilt.models.training.objectives import clamp_temperature, hard_negatives, itc_loss, itm_loss, lm_loss
from capfilt.models.training.task import Task

SMOOTHING = 0.1
"""Label smoothing of ITC and of ITG (LAVIS's code)."""


class Stage1Task(Task):
    """Queries learn what of an image a text tells: ITC, ITM and ITG (BLIP-2, section 3.1).

    Negatives are the pairs of all workers; there is no queue, for the frozen tower leaves room for large batches.
    """

    def __init__(
        self,
        bridge: Bridge,
        tokenizer: Tokenizer,
        weights: tuple[float, float, float] = (1.0, 1.0, 1.0),  # of ITC, ITM, ITG
        max_tokens: int = 32,
        seed: int = 0,
        group: Group | None = None,
    ) -> None:
        super().__init__(seed, group)
        self.bridge = bridge
        self.tokenizer = tokenizer
        self.weights = weights
        self.max_tokens = max_tokens

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to go back from, and each objective's value, both of this worker's part."""
        device = self.bridge.qformer.temperature.device
        states = self.bridge.encode_image(normalize(batch.images.to(device), torch.float32))
        image = self.bridge.project_image_kv(states)
        codes = pair_codes(batch.keys, batch.texts).to(device)
        same = same_pairs(codes, codes)
        losses: dict[str, Tensor] = {}
        losses["itc"], similarity = self._contrast(image, batch.texts, same)
        losses["itm"] = self._match(states, image, batch.texts, same.cpu(), similarity)
        losses["itg"] = self._generate(image, batch.texts)
        total = torch.stack([weight * loss for weight, loss in zip(self.weights, losses.values(), strict=True)]).sum()
        return total, {name: loss.detach() for name, loss in losses.items()}

    def _contrast(self, image: list[KeysValues | None], texts: list[str], same: Tensor) -> tuple[Tensor, Tensor]:
        """ITC: the largest cosine over the queries counts."""
        qformer, part = self.bridge.qformer, self.group.part(len(same))
        queries = self.group.gather(qformer.image_features(image))
        words = self.group.gather(qformer.text_feature(*self._encode(texts[part], CLS)))
        cosines = torch.einsum("bqe,te->btq", queries, words).max(-1).values
        similarity = cosines / clamp_temperature(qformer.temperature)
        own = same[part]
        return itc_loss(similarity[part], similarity.T[part], own, own, SMOOTHING), similarity

    def _match(
        self, states: Tensor, image: list[KeysValues | None], texts: list[str], same: Tensor, similarity: Tensor
    ) -> Tensor:
        """ITM: 1 true pair to 2 hard negatives, wrong text and wrong image."""
        part, rows = self.group.part(len(same)), torch.arange(len(same))
        wrong, others = (drawn[part] for drawn in hard_negatives(similarity.cpu(), same, self.generator))
        rows = rows[part]
        flat = [texts[number] for number in (*rows.tolist(), *wrong.tolist(), *rows.tolist())]
        swapped = self.bridge.project_image_kv(self.group.gather(states)[others])
        seen = [_joined(own, own, other) for own, other in zip(image, swapped, strict=True)]
        logits = self.bridge.qformer.itm_logits(*self._encode(flat, CLS), seen)
        truth = torch.cat((torch.ones(len(rows), dtype=torch.bool), same[rows, wrong], same[others, rows]))
        return itm_loss(logits, truth.to(logits.device))

    def _generate(self, image: list[KeysValues | None], texts: list[str]) -> Tensor:
        """ITG, the mean over the learned tokens of all workers."""
        ids, _ = self._encode(texts, DEC)
        count = None if self.group.size == 1 else ids[:, 1:].ne(0).sum() / self.group.size
        ids = ids[self.group.part(len(texts))]
        return lm_loss(self.bridge.qformer.lm_logits(ids, image), ids, SMOOTHING, count=count)

    def _encode(self, texts: Sequence[str], first: str) -> tuple[Tensor, Tensor]:
        device = self.bridge.qformer.temperature.device
        ids, mask = self.tokenizer.encode(texts, first, self.max_tokens)
        return ids.to(device), mask.to(device)


def _joined(*parts: KeysValues | None) -> KeysValues | None:
    known = [part for part in parts if part is not None]
    return KeysValues(*(torch.cat(side) for side in zip(*known, strict=True))) if known else None


class Stage2Task(Task):
    """Queries learn what a frozen language model needs to caption: LM behind a soft prompt (BLIP-2, section 3.3).

    A sequence-to-sequence model reads the first words of each caption in its encoder, and learns to write the rest.
    """

    def __init__(
        self,
        bridge: Bridge,
        model: LanguageModel,
        prompt: str = "",
        max_tokens: int = 32,
        seed: int = 0,
        group: Group | None = None,
    ) -> None:
        super().__init__(seed, group)
        self.bridge = bridge
        self.language = model  # no module: frozen
        self.prompt = prompt
        self.max_tokens = max_tokens

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the caption tokens of this worker's part, weighed so that workers agree on all of them."""
        device = self.bridge.qformer.temperature.device
        states = self.bridge.encode_image(normalize(batch.images.to(device), torch.float32))
        part = self.group.part(len(batch.texts))
        whole = [("", text) for text in batch.texts]
        read = split_captions(batch.texts, self.generator) if self.language.encoder_decoder else whole
        prefixes, written = ([pair[side] for pair in read] for side in (0, 1))
        soft = self.bridge.soft_prompt(states)
        logits, labels = self.language.lm_logits(soft, self.prompt, written[part], self.max_tokens, prefixes[part])
        total = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        loss = total / self._share(written, labels)
        return loss, {"lm": loss.detach()}

    def _share(self, texts: list[str], labels: Tensor) -> Tensor:
        """Tokens a worker has on average."""
        own = (labels != IGNORED).sum()
        if self.group.size == 1:
            return own
        lengths = [self.language.length(text, self.max_tokens) for text in texts]
        return torch.tensor(sum(lengths) / self.group.size, device=labels.device)


def split_captions(texts: Sequence[str], generator: torch.Generator) -> list[tuple[str, str]]:
    """Each caption in two at a random place between its words; the second part has at least one.

    No words in the first part are as likely as any number, for a captioner starts from none.
    """
    draws = torch.rand(len(texts), generator=generator).tolist()
    parts = []
    for text, draw in zip(texts, draws, strict=True):
        words = text.split()
        cut = int(draw * len(words))
        parts.append((" ".join(words[:cut]), " ".join(words[cut:])))
    return parts
