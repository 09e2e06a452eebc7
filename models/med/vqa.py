"""Visual question answering: a question read with the image, and a decoder that answers it (BLIP, section 5.4).

What the answer decoder's cross-attention sees is the question as the image-grounded encoder read it, not the image.

Dimensions: B questions, Q question tokens, M answers in all, T answer tokens, D text width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.models.med.cache import KeysValues
from capfilt.models.med.model import MED, LMHead
from capfilt.models.med.text import TextLayer, TextTransformer
from capfilt.models.normalize import normalize
from capfilt.models.tokenizer import DEC, ENC, SEP, Tokenizer

QUESTION_TOKENS: Final = 35
ANSWER_TOKENS: Final = 10
RANKED: Final = 128
"""Answers of a list that are read to their end; those whose first token is less likely are not."""


class VQA(nn.Module):
    """A MED that reads questions, and an answer decoder that starts as the MED's own."""

    def __init__(self, med: MED) -> None:
        super().__init__()
        self.config = med.config
        self.med = med
        self.answer = TextTransformer(replace(med.config, vision_width=med.config.text_width))
        self.lm_head = LMHead(med.config.text_width, med.config.vocab_size, med.config.tie_word_embeddings)
        self.lm_head.load_state_dict(med.lm_head.state_dict())
        self.answer.load_state_dict(self.answer.state_dict() | _fitting(med.text, self.answer))

    def encode_questions(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Questions [B, Q] that start with [ENC], read with their images [B, 3, S, S] -> states [B, Q, D]."""
        return self.med.text.encode(ids, mask, self.med.text.project_image_kv(self.med.encode_image(pixels)))

    def answer_logits(self, ids: Tensor, questions: Tensor, mask: Tensor) -> Tensor:
        """Answers [M, T] that start with [DEC], to questions [M, Q, D] with mask [M, Q] -> logits [M, T, V]."""
        x, seen = self.answer.embed(ids), mask[:, None, None, :]
        for layer in self.answer.layers:
            assert isinstance(layer, TextLayer)
            kv: KeysValues = layer.decoder.project(x)
            x = layer.decoder(x, kv, causal=ids.shape[1] > 1)
            x = layer.feed_forward(layer.cross(x, layer.cross.project(questions), seen))
        logits: Tensor = self.lm_head(x, self.answer.word.weight)
        return logits


def _fitting(source: TextTransformer, target: TextTransformer) -> dict[str, Tensor]:
    """Tensors of one text transformer that have the same shape in another: all but keys and values of other widths."""
    shapes = {name: tensor.shape for name, tensor in target.state_dict().items()}
    return {name: tensor for name, tensor in source.state_dict().items() if tensor.shape == shapes[name]}


def answer_losses(logits: Tensor, ids: Tensor, smoothing: float = 0.0) -> Tensor:
    """Minus the log-probability of each answer, summed over its tokens: [M]; padding (id 0) left out."""
    losses = F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(),
        ids[:, 1:].flatten(),
        ignore_index=0,
        label_smoothing=smoothing,
        reduction="none",
    )
    return losses.view(len(ids), -1).sum(1)


class Answerer:
    """A VQA model as one uses it."""

    def __init__(self, model: VQA, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    @torch.inference_mode()
    def rank(self, images: Tensor, questions: Sequence[str], answers: Sequence[str], most: int = RANKED) -> list[str]:
        """The likeliest of some answers to each question.

        As in BLIP's code: the `most` answers with the likeliest first token are read to their end.

        Args:
            images: uint8 [B, S, S, 3].
        """
        states, mask = self._read(images, questions)
        ids, _ = self._encode(answers, DEC)
        start = ids[:1, :1].expand(len(states), -1)
        first = self.model.answer_logits(start, states, mask)[:, 0].log_softmax(-1)[:, ids[:, 1]]
        likely = first.topk(min(most, len(ids)), dim=1).indices
        owner = torch.arange(len(states), device=states.device).repeat_interleave(likely.shape[1])
        chosen = ids[likely.flatten()]
        losses = answer_losses(self.model.answer_logits(chosen, states[owner], mask[owner]), chosen).view(likely.shape)
        best = likely.gather(1, losses.argmin(1, keepdim=True))[:, 0]
        return [answers[number] for number in best.tolist()]

    @torch.inference_mode()
    def generate(self, images: Tensor, questions: Sequence[str], max_tokens: int = ANSWER_TOKENS) -> list[str]:
        """The answer to each question, the likeliest token at a time."""
        states, mask = self._read(images, questions)
        ids = torch.full((len(states), 1), self.tokenizer.ids[DEC], device=states.device)
        stop = self.tokenizer.ids[SEP]
        for _ in range(max_tokens):
            token = self.model.answer_logits(ids, states, mask)[:, -1].argmax(-1)
            done = (ids == stop).any(1)
            ids = torch.cat((ids, torch.where(done, 0, token)[:, None]), dim=1)
            if bool((ids == stop).any(1).all()):
                break
        return [self.tokenizer.decode(row) for row in ids.tolist()]

    def _read(self, images: Tensor, questions: Sequence[str]) -> tuple[Tensor, Tensor]:
        weight = self.model.med.vision.norm.weight
        ids, mask = self._encode(questions, ENC, QUESTION_TOKENS)
        return self.model.encode_questions(normalize(images.to(weight.device), weight.dtype), ids, mask), mask

    def _encode(self, texts: Sequence[str], first: str, most: int = ANSWER_TOKENS + 2) -> tuple[Tensor, Tensor]:
        ids, mask = self.tokenizer.encode(texts, first, most)
        device = self.model.med.temperature.device
        return ids.to(device), mask.to(device)
