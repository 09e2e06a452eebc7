"""Image towers of other checkpoints as models of `transformers`, whose pooled state is that of [CLS]."""

from typing import Any, Final

import torch
from torch import Tensor

from capfilt.models.formats.guarded import load_model
from capfilt.models.formats.weights import load_med
from capfilt.models.med.model import MED
from capfilt.models.systems.parts.tower_info import TowerInfo

_VIT: Final = {
    "cls": "embeddings.cls_token",
    "position": "embeddings.position_embeddings",
    "patch.": "embeddings.patch_embeddings.projection.",
    "norm.": "layernorm.",
}
_LAYER: Final = {"norm1": "layernorm_before", "norm2": "layernorm_after", "out": "attention.o_proj"}
"""Names of a MED's image tower, and of `ViTModel`."""


def load_tower(info: TowerInfo) -> Any:
    """A `CLIPVisionModel` or `ViTModel`, evaluating, on the CPU; `pooler_output` [B, D] is the state of [CLS]."""
    if info.kind == "med":
        model, _ = load_med(info.folder)
        return vit_of_med(model)
    if info.kind == "vit":
        return _pooled_by_cls(load_model("ViTModel", info.folder, "cpu", torch.float32))
    return load_model("CLIPVisionModel", info.folder, "cpu", torch.float32)


def vit_of_med(med: MED) -> Any:
    """The image tower of a MED, which has a plain stem, as a `ViTModel`."""
    from transformers import ViTConfig, ViTModel

    own = med.config
    config: Any = ViTConfig
    made: Any = ViTModel(
        config(
            hidden_size=own.vision_width,
            num_hidden_layers=own.vision_layers,
            num_attention_heads=own.vision_heads,
            intermediate_size=4 * own.vision_width,
            image_size=own.image_size,
            patch_size=own.patch_size,
            layer_norm_eps=1e-5,
            pooler_act="linear",
        )
    )
    weights: dict[str, Tensor] = {}
    for name, tensor in med.vision.state_dict().items():
        weights |= _named(name, tensor)
    made.load_state_dict(weights, strict=False)
    return _pooled_by_cls(made.eval())


def _named(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor of a MED's tower by its names in a `ViTModel`; query, key and value are apart there."""
    if not name.startswith("layers."):
        for ours, theirs in _VIT.items():
            if name.startswith(ours):
                return {theirs + name.removeprefix(ours): tensor}
    _, layer, part, kind = name.split(".")
    if part == "qkv":
        return {
            f"layers.{layer}.attention.{one}_proj.{kind}": own for one, own in zip("qkv", tensor.chunk(3), strict=True)
        }
    theirs = _LAYER.get(part, f"mlp.{part}")
    return {f"layers.{layer}.{theirs}.{kind}": tensor}


def _pooled_by_cls(model: Any) -> Any:
    """A `ViTModel` whose pooler hands on [CLS]: the one of the library is a layer of its own, random where a tower was
    trained without it.
    """
    from transformers.models.vit.modeling_vit import ViTPooler

    model.config.pooler_act = "linear"
    model.config.pooler_output_size = model.config.hidden_size
    model.pooler = ViTPooler(model.config).eval()
    with torch.no_grad():
        torch.nn.init.eye_(model.pooler.dense.weight)
        torch.nn.init.zeros_(model.pooler.dense.bias)
    return model
