"""Published BLIP checkpoints and ours: the names of one tensor on either side.

Two layouts are published (`transformers` names). A captioning checkpoint holds the decoder alone
(`BlipForConditionalGeneration`), a retrieval checkpoint the encoder, the ITC projections and the ITM head
(`BlipForImageTextRetrieval`). Either fills the part of a MED that its role needs; the rest stays untrained.
"""

import re
from typing import Final

import torch
from torch import Tensor

from capfilt.models.med.config import Layout

_VISION: Final = {
    "vision_model.embeddings.class_embedding": "vision.cls",
    "vision_model.embeddings.position_embedding": "vision.position",
    "vision_model.embeddings.patch_embedding": "vision.patch",
    "vision_model.post_layernorm": "vision.norm",
    "vision_model.encoder.layers.#.self_attn.qkv": "vision.layers.#.qkv",
    "vision_model.encoder.layers.#.self_attn.projection": "vision.layers.#.out",
    "vision_model.encoder.layers.#.layer_norm1": "vision.layers.#.norm1",
    "vision_model.encoder.layers.#.layer_norm2": "vision.layers.#.norm2",
    "vision_model.encoder.layers.#.mlp.fc1": "vision.layers.#.fc1",
    "vision_model.encoder.layers.#.mlp.fc2": "vision.layers.#.fc2",
}
_HEADS: Final = {
    "captioning": {
        "text_decoder.cls.predictions.transform.dense": "lm_head.dense",
        "text_decoder.cls.predictions.transform.LayerNorm": "lm_head.norm",
        "text_decoder.cls.predictions.bias": "lm_head.bias",
    },
    "retrieval": {"vision_proj": "vision_proj", "text_proj": "text_proj", "itm_head": "itm_head"},
}
OUTPUT: Final = ("text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias")
"""The output layer of the decoder: where it is tied, the word embeddings and the bias once more."""
_TIED_TO: Final = ("text_decoder.bert.embeddings.word_embeddings.weight", "text_decoder.cls.predictions.bias")
_OWN: Final = ("lm_head.words", "lm_head.bias")


def _text_names(layout: Layout) -> dict[str, str]:
    bert = {"captioning": "text_decoder.bert", "retrieval": "text_encoder"}[layout]
    own = {"captioning": "decoder", "retrieval": "encoder"}[layout]
    names = {
        f"{bert}.embeddings.word_embeddings": "text.word",
        f"{bert}.embeddings.position_embeddings": "text.position",
        f"{bert}.embeddings.LayerNorm": "text.norm",
        f"{bert}.encoder.layer.#.intermediate.dense": "text.layers.#.fc1",
        f"{bert}.encoder.layer.#.output.dense": "text.layers.#.fc2",
        f"{bert}.encoder.layer.#.output.LayerNorm": "text.layers.#.norm",
    }
    for theirs, ours in (("attention", own), ("crossattention", "cross")):
        for part in ("query", "key", "value"):
            names[f"{bert}.encoder.layer.#.{theirs}.self.{part}"] = f"text.layers.#.{ours}.{part}"
        names[f"{bert}.encoder.layer.#.{theirs}.output.dense"] = f"text.layers.#.{ours}.out"
        names[f"{bert}.encoder.layer.#.{theirs}.output.LayerNorm"] = f"text.layers.#.{ours}.norm"
    return names


def from_blip(weights: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """A published state dict under our names.

    Raises:
        KeyError: a tensor that neither layout knows; nothing is left out in silence.
    """
    names = _VISION | _text_names(layout) | _HEADS[layout]
    kept = {name: tensor for name, tensor in weights.items() if name not in OUTPUT and "position_ids" not in name}
    renamed = {_rename(name, names): tensor for name, tensor in kept.items()}
    for name, source, ours in zip(OUTPUT, _TIED_TO, _OWN, strict=True):
        if name in weights and not torch.equal(weights[name], weights[source]):
            renamed[ours] = weights[name]  # the layer that computes; the bias beside it is a copy that went stale
    return renamed


def from_bert(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text side of a BERT under our names; its self-attention is both the encoder's and the decoder's.

    What it adds to every token of a first sentence (its token type) goes into the position embeddings; its pooler is
    left out, which a MED does not have.
    """
    found: dict[str, Tensor] = {}
    kinds: Tensor | None = None
    for name, tensor in weights.items():
        plain = name.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias")
        for own in ("encoder", "decoder"):
            names = _bert_names(own)
            stem = _split(plain)[0]
            if plain in names or stem in names:
                found[_rename(plain, names)] = tensor
        if plain == "embeddings.token_type_embeddings.weight":
            kinds = tensor
    if kinds is not None and "text.position.weight" in found:
        found["text.position.weight"] = found["text.position.weight"] + kinds[0]
    return found


def _bert_names(own: str) -> dict[str, str]:
    layout: Layout = "captioning" if own == "decoder" else "retrieval"
    bert = "text_decoder.bert." if own == "decoder" else "text_encoder."
    plain = {theirs.removeprefix(bert): ours for theirs, ours in _text_names(layout).items() if ".cross" not in ours}
    heads = {theirs.removeprefix("text_decoder."): ours for theirs, ours in _HEADS["captioning"].items()}
    return plain | heads


def _split(name: str) -> tuple[str, str, str]:
    """A tensor's name with # for its layer, the layer, and .weight or .bias or nothing."""
    stem, dot, last = name.rpartition(".")
    stem, tail = (stem, f".{last}") if dot and last in ("weight", "bias") else (name, "")
    layer = re.search(r"\.(\d+)\.", stem)
    return (re.sub(r"\.\d+\.", ".#.", stem), layer[1] if layer else "", tail)


def _rename(name: str, names: dict[str, str]) -> str:
    if name in names:
        return names[name]
    stem, layer, tail = _split(name)
    return names[stem].replace("#", layer) + tail
