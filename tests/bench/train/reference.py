"""BLIP's pretraining step on the modules of `transformers`, written as the paper's method section tells it.

Dimensions: B pairs, Q places of the queue, E feature width.
"""

import copy
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 768
MOMENTUM, ALPHA, TEMPERATURE, SMOOTHING = 0.995, 0.4, 0.07, 0.1


class Step(nn.Module):
    """ITC with momentum encoders and queue, ITM with hard negatives, LM; all but self-attention shared."""

    def __init__(self, image_size: int, layers: int, vocabulary: int, queue: int) -> None:
        super().__init__()
        library: Any = transformers
        vision = library.BlipVisionConfig(image_size=image_size, num_hidden_layers=layers)
        shape = {"num_attention_heads": 12, "num_hidden_layers": layers, "encoder_hidden_size": WIDTH}
        text = library.BlipTextConfig(vocab_size=vocabulary, label_smoothing=SMOOTHING, **shape)
        text.is_decoder = True
        self.vision = library.BlipVisionModel(vision)
        self.encoder = library.models.blip.modeling_blip_text.BlipTextModel(text, add_pooling_layer=False)
        self.decoder = library.models.blip.modeling_blip_text.BlipTextLMHeadModel(text)
        self.decoder.bert.embeddings = self.encoder.embeddings
        for own, other in zip(self.decoder.bert.encoder.layer, self.encoder.encoder.layer, strict=True):
            own.crossattention, own.intermediate, own.output = other.crossattention, other.intermediate, other.output
        self.decoder.cls.predictions.decoder.weight = self.encoder.embeddings.word_embeddings.weight
        self.vision_proj, self.text_proj = nn.Linear(WIDTH, 256), nn.Linear(WIDTH, 256)
        self.itm_head = nn.Linear(WIDTH, 2)
        self.slow = copy.deepcopy(nn.ModuleList((self.vision, self.vision_proj, self.encoder, self.text_proj)))
        self.slow.requires_grad_(False)
        self.images: Tensor
        self.texts: Tensor
        self.register_buffer("images", F.normalize(torch.randn(256, queue), dim=0))
        self.register_buffer("texts", F.normalize(torch.randn(256, queue), dim=0))
        self.pointer = 0

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Pixels [B, 3, S, S] and ids [B, T], the first of which is set as each objective has it."""
        states = self.vision(pixels).last_hidden_state
        image = F.normalize(self.vision_proj(states[:, 0]), dim=-1)
        text = F.normalize(self.text_proj(self._read(self.encoder, ids, mask)[:, 0]), dim=-1)
        itc, by_image, by_text = self._contrast(image, text, pixels, ids, mask)
        return itc + self._match(states, ids, mask, by_image, by_text) + self._predict(states, ids, mask)

    @torch.no_grad()
    def follow(self) -> None:
        """Momentum, after the update."""
        fast = nn.ModuleList((self.vision, self.vision_proj, self.encoder, self.text_proj))
        for slow, own in zip(self.slow.parameters(), fast.parameters(), strict=True):
            slow.mul_(MOMENTUM).add_(own, alpha=1 - MOMENTUM)

    def _read(self, encoder: Any, ids: Tensor, mask: Tensor, states: Tensor | None = None) -> Tensor:
        seen = {} if states is None else {"encoder_hidden_states": states}
        out: Tensor = encoder(input_ids=ids, attention_mask=mask, is_decoder=False, **seen).last_hidden_state
        return out

    def _contrast(self, image: Tensor, text: Tensor, pixels: Tensor, ids: Tensor, mask: Tensor) -> Any:
        with torch.no_grad():
            vision, vision_proj, encoder, text_proj = self.slow
            slow_image = F.normalize(vision_proj(vision(pixels).last_hidden_state[:, 0]), dim=-1)
            slow_text = F.normalize(text_proj(self._read(encoder, ids, mask)[:, 0]), dim=-1)
            images, texts = torch.cat((slow_image.T, self.images), 1), torch.cat((slow_text.T, self.texts), 1)
            hard = torch.zeros(len(ids), images.shape[1], device=ids.device)
            hard.fill_diagonal_(1)
            to_text = ALPHA * (slow_image @ texts / TEMPERATURE).softmax(1) + (1 - ALPHA) * hard
            to_image = ALPHA * (slow_text @ images / TEMPERATURE).softmax(1) + (1 - ALPHA) * hard
        by_image, by_text = image @ texts / TEMPERATURE, text @ images / TEMPERATURE
        loss = -((by_image.log_softmax(1) * to_text).sum(1) + (by_text.log_softmax(1) * to_image).sum(1)).mean() / 2
        place = slice(self.pointer, self.pointer + len(ids))
        self.images[:, place], self.texts[:, place] = slow_image.T, slow_text.T
        self.pointer = (self.pointer + len(ids)) % self.images.shape[1]
        return loss, by_image[:, : len(ids)].detach(), by_text[:, : len(ids)].detach()

    def _match(self, states: Tensor, ids: Tensor, mask: Tensor, by_image: Tensor, by_text: Tensor) -> Tensor:
        own = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
        texts, images = (
            torch.multinomial((similarity.softmax(1) + 1e-4).masked_fill(own, 0), 1)[:, 0]
            for similarity in (by_image, by_text)
        )
        first = self._read(self.encoder, ids, mask, states)[:, 0]
        wrong = self._read(
            self.encoder,
            torch.cat((ids, ids[texts])),
            torch.cat((mask, mask[texts])),
            torch.cat((states[images], states)),
        )[:, 0]
        truth = (torch.arange(3 * len(ids), device=ids.device) < len(ids)).long()
        return F.cross_entropy(self.itm_head(torch.cat((first, wrong))), truth)

    def _predict(self, states: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        labels = ids.masked_fill(mask == 0, -100)
        out = self.decoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=states, labels=labels)
        loss: Tensor = out.loss
        return loss.mean()
