"""Visual question answering: a question read with the image, and a decoder that answers it (BLIP, section 5.4).

What the answer decoder's cross-attention sees is the question as the image-grounded encoder read it, not the image.

Dimensions: B questions, Q question tokens, M answers in all, T answer tokens, D text width, V vocabulary.
"""

from dataclasses import replace
from typing import Final

from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.models.med.cache import KeysValues
from capfilt.models.med.model import MED, LMHead
from capfilt.models.med.text import TextLayer, TextTransformer

QUESTION_TOKENS: Final = 35
ANSWER_TOKENS: Final = 10
"""Tokens at most, those of BLIP's code; of an answer with [DEC]."""


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
        return self.vocab_logits(x)

    @property
    def text(self) -> TextTransformer:
        """What writes, to a search."""
        return self.answer

    def vocab_logits(self, states: Tensor) -> Tensor:
        """States [..., D] of the answer decoder -> logits [..., V]."""
        logits: Tensor = self.lm_head(states, self.answer.word.weight)
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
