"""BLIP-2's Q-Former as a judge: `Blip2ForImageTextRetrieval` of `transformers`.

ITC is the largest cosine of the text's feature with those of the queries; ITM reads queries and text together, and its
logits are averaged over the queries (BLIP-2, section 3.1). The image tower runs once an image, and the queries' reading
of it for ITC too; the ITM reading is one a text.

Dimensions: B images, M texts in all, Q queries, T tokens, D width of the Q-Former, E width of the features.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.formats.image_processor import read_normalizing_processor
from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.judges.pairs import fold, owners
from capfilt.models.normalize import normalize
from capfilt.models.runtime import Placement
from capfilt.models.tokenizer import MAX_CHARACTERS, MAX_WORDS, clean_text

MAX_TOKENS = 32
"""Tokens of a text that are looked at (BLIP-2's training)."""


class Blip2Judge:
    """`itm` = softmax of the matching head, 0..1; `itc` = the largest cosine over the queries, -1..1."""

    def __init__(self, info: ModelInfo, digest: str, placement: Placement) -> None:
        self.name = Path(info.name).name
        self.digest = digest
        self.pixels = info.pixels
        self.columns = info.columns
        self.device, self.dtype = placement.resolve()
        settings = read_normalizing_processor(info.folder)
        self.mean, self.std = settings["image_mean"], settings["image_std"]
        self.tokenizer = load_part("AutoTokenizer", info.folder)
        self.model = load_model("Blip2ForImageTextRetrieval", info.folder, self.device, self.dtype)

    @torch.inference_mode()
    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """Scores of every text of every image."""
        flat = [clean_text(text) for own in texts for text in own]
        if not flat:
            return {column: [[] for _ in texts] for column in self.columns}
        seen = normalize(images.to(self.device), self.dtype, self.mean, self.std)
        # transformers keeps the Q-Former in float32 where the tower is in half precision.
        states = self.model.vision_model(pixel_values=seen).last_hidden_state.to(self.model.query_tokens.dtype)
        words = self.tokenizer(flat, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        ids, mask = words["input_ids"].to(self.device), words["attention_mask"].to(self.device)
        owner = torch.tensor(owners(texts), device=self.device)
        itm, itc = self._match(states[owner], ids, mask), self._cosine(states, ids, mask, owner)
        return dict(zip(self.columns, (fold(itm, texts), fold(itc, texts)), strict=True))

    def cuts(self, text: str) -> bool:
        """See `protocols.TruncatingJudge`."""
        whole = clean_text(text, MAX_CHARACTERS)
        return len(whole.split(" ")) > MAX_WORDS or len(self.tokenizer(whole)["input_ids"]) > MAX_TOKENS

    def _match(self, states: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Probabilities [M] that texts match the images whose states [M, N, D] stand beside them."""
        queries = self.model.query_tokens.expand(len(ids), -1, -1)
        together = torch.cat((mask.new_ones(queries.shape[:2]), mask), dim=1)
        read = self.model.qformer(
            query_embeds=self.model.embeddings(input_ids=ids, query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=together,
            encoder_hidden_states=states,
        ).last_hidden_state[:, : queries.shape[1]]
        logits: Tensor = self.model.itm_head(read.to(self.model.itm_head.weight.dtype)).mean(1)
        return logits.float().softmax(-1)[:, 1]

    def _cosine(self, states: Tensor, ids: Tensor, mask: Tensor, owner: Tensor) -> Tensor:
        """Cosines [M], each the largest over the queries of the image that `owner` names."""
        model = self.model
        queries = model.query_tokens.expand(len(states), -1, -1)
        image = model.qformer(query_embeds=queries, encoder_hidden_states=states).last_hidden_state
        text = model.qformer(
            query_embeds=model.embeddings(input_ids=ids), query_length=0, attention_mask=mask
        ).last_hidden_state[:, 0]
        dtype = model.vision_projection.weight.dtype
        image = F.normalize(model.vision_projection(image.to(dtype)).float(), dim=-1)
        text = F.normalize(model.text_projection(text.to(dtype)).float(), dim=-1)
        return torch.einsum("mqe,me->mq", image[owner], text).max(-1).values
