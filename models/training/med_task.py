"""One training step of MED: pixels and texts in, weighted losses out."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from capfilt.models.med.model import MED
from capfilt.models.med.text import KeysValues
from capfilt.models.preprocess import normalise
from capfilt.models.tokenizer import CLS, DEC, ENC, Tokenizer
from capfilt.models.training.objectives import contrastive, exchange, hard_negatives, language, matching


@dataclass(frozen=True, slots=True)
class Batch:
    """B pairs: `images` uint8 [B, S, S, 3], one text each, and texts that people marked as wrong (0 or more each)."""

    images: Tensor
    texts: list[str]
    wrong: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each objective counts; 0 leaves it out. The paper pretrains with 1, 1, 1 (section 3.2).

    A captioner is tuned with LM alone, a filter with ITC and ITM (section 3.3).
    """

    itc: float = 1.0
    itm: float = 1.0
    lm: float = 1.0
    words: float = 0.0  # ITM word by word; not in the paper


class MEDTask:
    """A MED with its objectives; `step` is the whole of what one batch costs."""

    def __init__(self, model: MED, tokenizer: Tokenizer, weights: Weights, max_tokens: int = 35, seed: int = 0) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.weights = weights
        self.max_tokens = max_tokens
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss to go back from, and each objective's value."""
        device = self.model.temperature.device
        states = self.model.see(normalise(batch.images.to(device), torch.float32))
        losses: dict[str, Tensor] = {}
        similarity = None
        same = _same_text(batch.texts).to(device)
        if self.weights.itc or self.weights.itm:
            losses["itc"], similarity = self._contrast(states, batch.texts, same)
        image = self.model.text.look(states)
        if self.weights.itm and similarity is not None:
            losses["itm"] = self._match(image, batch, similarity, same)
        if self.weights.words:
            losses["words"] = self._match_words(image, batch.texts)
        if self.weights.lm:
            ids, _ = self._encode(batch.texts, DEC)
            losses["lm"] = language(self.model.predict(ids, image), ids)
        total = torch.stack([getattr(self.weights, name) * loss for name, loss in losses.items()]).sum()
        return total, {name: float(loss.detach()) for name, loss in losses.items()}

    def _contrast(self, states: Tensor, texts: list[str], same: Tensor) -> tuple[Tensor, Tensor]:
        ids, mask = self._encode(texts, CLS)
        temperature = self.model.temperature.clamp(0.001, 0.5)
        return contrastive(self.model.image_feature(states), self.model.text_feature(ids, mask), temperature, same)

    def _match(self, image: list[KeysValues], batch: Batch, similarity: Tensor, same: Tensor) -> Tensor:
        """1 true pair to 2 hard negatives (wrong text, wrong image), and the texts that people marked as wrong."""
        texts, images = hard_negatives(similarity.cpu(), same.cpu(), self.generator)
        most = min((len(wrong) for wrong in batch.wrong), default=0)
        flat = [
            text
            for row, own in enumerate(batch.texts)
            for text in (own, batch.texts[int(texts[row])], *(batch.wrong[row][:most] if most else ()))
        ]
        match = torch.zeros(len(batch.texts), 2 + most, dtype=torch.bool)
        match[:, 0] = True
        match[:, 1] = same.cpu()[torch.arange(len(texts)), texts]
        logits = self.model.match(*self._encode(flat, ENC), image)
        others = [KeysValues(kv.keys[images], kv.values[images]) for kv in image]
        swapped = self.model.match(*self._encode(batch.texts, ENC), others)
        truth = torch.cat((match.flatten(), same.cpu()[images, torch.arange(len(images))]))
        return matching(torch.cat((logits, swapped)), truth.to(logits.device))

    def _match_words(self, image: list[KeysValues], texts: list[str]) -> Tensor:
        """ITM word by word: of a text with some words exchanged, which ones do not fit the image?

        One yes or no a text says little; with a yes or no a word the encoder learns details from far fewer pictures
        (the idea of ELECTRA, Clark et al. 2020, with the image as context). The first token answers for the whole.
        """
        ids, mask = self._encode(texts, ENC)
        changed = exchange(ids, mask, self.generator)
        fits = changed == ids
        fits[:, 0] = fits.all(1)
        logits = self.model.itm_head(self.model.text.encode(changed, mask, image))
        return matching(logits[mask], fits[mask])

    def _encode(self, texts: list[str], first: str) -> tuple[Tensor, Tensor]:
        device = self.model.temperature.device
        ids, mask = self.tokenizer.encode(texts, first, self.max_tokens)
        return ids.to(device), mask.to(device)


def _same_text(texts: list[str]) -> Tensor:
    """bool [B, B]: True where two texts are equal; pairs of equal texts are not negatives of each other."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    codes = torch.tensor([numbers[text] for text in texts])
    return codes[:, None] == codes[None, :]
