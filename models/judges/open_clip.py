"""Any model of open_clip as a judge: CLIP from ViT-B/32 to ViT-L/14 and beyond, SigLIP, ...

Dimensions: B images, M texts, T tokens, D width, E width of the features.
"""

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.core.errors import ModelError
from capfilt.models.formats.guarded import open_clip_model, open_clip_tokenizer
from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.judges.pairs import cosines
from capfilt.models.normalize import normalize
from capfilt.models.runtime import Placement

TEXTS_AT_ONCE = 512
"""Texts that go through the text tower together; more of them only cost memory."""


class OpenClipJudge:
    """`clip` = the cosine of the two features, -1..1: no scale, no sigmoid, so models of one kind can be compared."""

    def __init__(self, info: ModelInfo, digest: str, placement: Placement) -> None:
        assert info.open_clip
        self.source = info.open_clip
        self.name = Path(info.name).name
        self.digest = digest
        self.pixels = self.source.pixels
        self.columns = info.columns
        self.device, self.dtype = placement.resolve()
        try:
            self.model = open_clip_model(self.source).to(self.device, self.dtype).eval()
            self.tokenizer = open_clip_tokenizer(self.source)
        except Exception as error:  # torch, timm, transformers and the file system; the message must be one line
            raise ModelError(f"model {info.name!r}: {type(error).__name__}: {error}".splitlines()[0]) from error

    @torch.inference_mode()
    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """See `pairs.cosines`."""
        found = cosines(self, images, texts)
        return {column: found for column in self.columns}

    def cuts(self, text: str) -> bool:
        """See `protocols.TruncatingJudge`; what is known of CLIP's own words alone."""
        words = self.tokenizer
        if not isinstance(words, open_clip.SimpleTokenizer):
            return False
        return bool(len(words.encode(text)) > words.context_length - 2)

    def image_features(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> [B, E] of length 1."""
        seen = normalize(images.to(self.device), self.dtype, self.source.mean, self.source.std)
        return F.normalize(self.model.encode_image(seen).float(), dim=-1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """M texts -> [M, E] of length 1."""
        parts = [
            self._text(list(texts[start : start + TEXTS_AT_ONCE])) for start in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        return F.normalize(torch.cat(parts).float(), dim=-1)

    def _text(self, texts: list[str]) -> Tensor:
        """Features [M, E] of texts."""
        ids = self.tokenizer(texts).to(self.device)
        if type(self.model) is open_clip.CLIP and self.model.text_pool_type == "argmax":
            return self._short_text(ids)
        features: Tensor = self.model.encode_text(ids)
        return features

    def _short_text(self, ids: Tensor) -> Tensor:
        """`encode_text` without the padding: in a causal tower no token sees what follows it, and the last counts."""
        # The end of text has the highest id of CLIP's words; cutting behind it spares up to 77 - T padded tokens.
        model, end = self.model, ids.argmax(-1)
        length = int(end.max()) + 1
        x = model.token_embedding(ids[:, :length]) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x.to(self.dtype), attn_mask=model.attn_mask[:length, :length]))
        pooled = x[torch.arange(len(x), device=x.device), end]
        projection = model.text_projection
        features: Tensor = projection(pooled) if callable(projection) else pooled @ projection
        return features
