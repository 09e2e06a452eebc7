"""The Q-Former: queries and text share self-attention, queries alone see the image, each has FFNs of its own.

| reading | queries see | text sees | readout |
|---|---|---|---|
| ITC | queries | text, both ways | the largest cosine of a query with the text's [CLS] |
| ITM | queries and text | queries and text | the mean over queries of 2 logits |
| ITG | queries | queries and earlier text | the next token; text starts with [DEC] |

(BLIP-2, section 3.1 and figure 2.)

Dimensions: B images, M texts, Q queries, T tokens, N image tokens, D width, H heads, E projection width, V vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.models.med.cache import KeysValues
from capfilt.models.med.model import INIT_STD, LMHead
from capfilt.models.med.text import Attention
from capfilt.models.qformer.config import QFormerConfig

TEMPERATURE = 0.07
"""Where the temperature of ITC starts."""


class FeedForward(nn.Module):
    """BERT's FFN with its residual and post-norm."""

    def __init__(self, width: int, ffn: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, ffn)
        self.fc2 = nn.Linear(ffn, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        out: Tensor = self.norm(self.fc2(F.gelu(self.fc1(x))) + x)
        return out


class QFormerLayer(nn.Module):
    """Self-attention of all, cross-attention of the queries in some layers, an FFN for queries and one for text."""

    def __init__(self, config: QFormerConfig, sees_image: bool) -> None:
        super().__init__()
        self.own = Attention(config.width, config.heads, config.width)
        self.cross = Attention(config.width, config.heads, config.vision_width) if sees_image else None
        self.query_ffn = FeedForward(config.width, config.ffn)
        self.text_ffn = FeedForward(config.width, config.ffn)

    def forward(self, x: Tensor, queries: int, image: KeysValues | None, mask: Tensor | None) -> Tensor:
        """x [rows, Q + T, D], the queries first; `mask` bool, True where a row may look: [rows, H, Q + T, Q + T]."""
        x = self.own(x, self.own.project(x), mask)
        first, text = x[:, :queries], x[:, queries:]
        if queries and self.cross is not None and image is not None:
            first = self.cross(first, image)
        return torch.cat((self.query_ffn(first), self.text_ffn(text)), dim=1)


class QFormer(nn.Module):
    """Queries, text and heads; the image comes as the states of a tower."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Parameter(torch.randn(1, config.queries, config.width) * INIT_STD)
        self.word = nn.Embedding(config.vocab_size, config.width, padding_idx=0)
        self.position = nn.Embedding(config.max_positions, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(
            QFormerLayer(config, number % config.cross_every == 0) for number in range(config.layers)
        )
        self.vision_proj = nn.Linear(config.width, config.projection)
        self.text_proj = nn.Linear(config.width, config.projection)
        self.itm_head = nn.Linear(config.width, 2)  # class 1 = match
        self.lm_head = LMHead(config.width, config.vocab_size)
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        self.apply(_initialize)

    def project_image_kv(self, states: Tensor) -> list[KeysValues | None]:
        """Keys and values [B, H, N, d] of image states [B, N, vision width] for every layer that sees the image."""
        return [layer.cross.project(states) if layer.cross is not None else None for layer in self._layers()]

    def read_image(self, image: list[KeysValues | None]) -> Tensor:
        """The queries alone: what they take from the image, [B, Q, D]."""
        rows = next(kv.keys.shape[0] for kv in image if kv is not None)
        return self._run(self.norm(self.query.expand(rows, -1, -1)), self.config.queries, image, None)

    def read_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text alone [M, T] (mask: True where a token is) -> states [M, T, D]."""
        return self._run(self._embed(ids, queries=False), 0, None, mask[:, None, None, :])

    def image_features(self, image: list[KeysValues | None]) -> Tensor:
        """The ITC features of an image's queries, [B, Q, E], each of length 1."""
        return F.normalize(self.vision_proj(self.read_image(image)), dim=-1)

    def text_feature(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The ITC feature of texts that start with [CLS]: [M, E], of length 1."""
        return F.normalize(self.text_proj(self.read_text(ids, mask)[:, 0]), dim=-1)

    def itm_logits(self, ids: Tensor, mask: Tensor, image: list[KeysValues | None]) -> Tensor:
        """ITM logits [M, 2] of texts [M, T] that start with [CLS], each with its own image; class 1 = match."""
        queries = self.config.queries
        seen = F.pad(mask, (queries, 0), value=True)[:, None, None, :]
        x = self._run(self._embed(ids), queries, image, seen)
        # BLIP-2's code averages the logits of the queries, not their states.
        logits: Tensor = self.itm_head(x[:, :queries]).mean(1)
        return logits

    def lm_logits(self, ids: Tensor, image: list[KeysValues | None]) -> Tensor:
        """ITG logits [M, T, V] of texts [M, T] that start with [DEC], each with its own image.

        Padding stands on the right, where no earlier token can see it.
        """
        queries = self.config.queries
        seen = generation_mask(queries, ids.shape[1], ids.device)
        x = self._run(self._embed(ids), queries, image, seen)
        logits: Tensor = self.lm_head(x[:, queries:], self.word.weight)
        return logits

    def start_queries_from_text(self) -> None:
        """Give the queries' FFNs the weights of the text's, as BLIP-2 does with BERT's."""
        for layer in self._layers():
            layer.query_ffn.load_state_dict(layer.text_ffn.state_dict())

    def _embed(self, ids: Tensor, queries: bool = True) -> Tensor:
        """Text, after the queries if so wanted: normed embeddings [M, Q + T, D]."""
        words = self.word(ids) + self.position(torch.arange(ids.shape[1], device=ids.device))
        if queries:
            words = torch.cat((self.query.expand(len(ids), -1, -1).to(words.dtype), words), dim=1)
        out: Tensor = self.norm(words)
        return out

    def _run(self, x: Tensor, queries: int, image: list[KeysValues | None] | None, mask: Tensor | None) -> Tensor:
        for number, layer in enumerate(self._layers()):
            x = layer(x, queries, image[number] if image else None, mask)
        return x

    def _layers(self) -> list[QFormerLayer]:
        return [layer for layer in self.layers if isinstance(layer, QFormerLayer)]


def generation_mask(queries: int, tokens: int, device: torch.device) -> Tensor:
    """bool [Q + T, Q + T], True where a row may look: queries at queries, text at queries and at text so far."""
    mask = torch.ones(queries + tokens, queries + tokens, dtype=torch.bool, device=device).tril()
    mask[:queries, :queries] = True
    return mask


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INIT_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
