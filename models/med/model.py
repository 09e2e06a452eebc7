"""MED: the image tower, the text transformer and the heads of its three objectives.

Dimensions: B images, n texts an image, T tokens, N image tokens, D text width, V vocabulary, E projection width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.models.med.cache import KeysValues
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.frozen_tower import FrozenTower
from capfilt.models.med.linear import Linear, linear, packed, packed_linear
from capfilt.models.med.text import TextTransformer
from capfilt.models.med.vision import VisionTransformer

INIT_STD = 0.02
"""BERT's standard deviation for new weights, meant for a width of 768; narrower models get 1 / sqrt(width) of it."""


class LMHead(nn.Module):
    """BERT's prediction head: dense, gelu, norm, then the word embeddings read backwards, plus a bias.

    Args:
        tied: False where the head has an embedding of its own for every word.
    """

    def __init__(self, width: int, vocab_size: int, tied: bool = True) -> None:
        super().__init__()
        self.dense = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.words = None if tied else nn.Parameter(torch.zeros(vocab_size, width))
        self.packed_words: Tensor | None = None  # packed

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """[..., D] -> logits [..., V]; `words` are the word embeddings [V, D]."""
        states = self.norm(self.dense.gelu(states))
        return (
            linear(states, self.output_words(words), self.bias)
            if self.packed_words is None
            else packed_linear(states, self.packed_words, self.bias)
        )

    def output_words(self, words: Tensor) -> Tensor:
        """What the states are compared with [V, D]: the head's own embeddings, or else the word embeddings."""
        return words if self.words is None else self.words


class MED(nn.Module):
    """BLIP's mixture of encoder-decoder. Everything but self-attention is shared between encoder and decoder."""

    def __init__(self, config: MEDConfig, tower: FrozenTower | None = None) -> None:
        """`tower`: the image side, where `config.tower` names one; `formats.weights.make_med` loads it."""
        super().__init__()
        if bool(config.tower) != (tower is not None):
            raise ValueError(
                f"this MED needs its image tower {config.tower!r}" if config.tower else "no tower is named"
            )
        self.config = config
        self.vision: VisionTransformer | FrozenTower = tower or VisionTransformer(config)
        self.text = TextTransformer(config)
        self.vision_proj = nn.Linear(config.vision_width, config.projection)
        self.text_proj = nn.Linear(config.text_width, config.projection)
        self.itm_head = nn.Linear(config.text_width, 2)  # class 1 = match
        self.lm_head = LMHead(config.text_width, config.vocab_size, config.tie_word_embeddings)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        std = INIT_STD * (768 / config.text_width) ** 0.5
        self.apply(lambda module: _initialize(module, std))

    def pack(self, for_captioning: bool = False) -> None:
        """For inference alone: lay the weights out as this machine computes with them, where that is faster.

        `for_captioning`: it is a captioner, whose text side reads a token a caption at a time, so few rows.
        """
        few = {*self.text.decoder_step_layers(), self.lm_head.dense} if for_captioning else set()
        for module in self.modules():
            if isinstance(module, Linear) and not module.weight.is_meta:
                module.pack(module in few)
        if not self.lm_head.bias.is_meta:
            self.lm_head.packed_words = packed(
                self.lm_head.output_words(self.text.word.weight).detach(), for_captioning
            )

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalized pixels [B, 3, S, S] -> image states [B, N, vision width]."""
        states: Tensor = self.vision(pixels)
        return states

    def image_feature(self, image_states: Tensor) -> Tensor:
        """The ITC feature of the image: [CLS], projected, of length 1: [B, E]."""
        return F.normalize(self.vision_proj(image_states[:, 0]), dim=-1)

    def text_feature(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The ITC feature of texts [M, T] that start with [CLS]: [M, E], of length 1."""
        return F.normalize(self.text_proj(self._first(ids, mask)), dim=-1)

    def itm_logits(self, ids: Tensor, mask: Tensor, image: list[KeysValues]) -> Tensor:
        """ITM logits [B * n, 2] of texts [B * n, T] that start with [ENC]; class 1 = match."""
        logits: Tensor = self.itm_head(self._first(ids, mask, image))
        return logits

    def _first(self, ids: Tensor, mask: Tensor, image: list[KeysValues] | None = None) -> Tensor:
        if self.training or ids.is_cuda:  # to launch what leaves the padding out takes longer than the padding
            return self.text.encode(ids, mask, image)[:, 0]
        return self.text.encode_first(ids, mask, image)

    def lm_logits(self, ids: Tensor, image: list[KeysValues]) -> Tensor:
        """LM logits [B * n, T, V] of texts [B * n, T] that start with [DEC]."""
        return self.vocab_logits(self.text.decode(ids, image))

    def vocab_logits(self, states: Tensor) -> Tensor:
        """Decoder states [..., D] -> logits [..., V]."""
        logits: Tensor = self.lm_head(states, self.text.word.weight)
        return logits


def _initialize(module: nn.Module, std: float) -> None:
    if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
