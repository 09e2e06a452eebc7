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
_READ: Final = {"vit": "ViTModel", "vit_mae": "ViTMAEForPreTraining", "beit": "BeitForMaskedImageModeling"}
"""The classes that read a folder: those which have all of its weights."""
_LAYER: Final = {"norm1": "layernorm_before", "norm2": "layernorm_after", "out": "attention.o_proj"}
"""Names of a MED's image tower, and of `ViTModel`."""


def load_tower(info: TowerInfo) -> Any:
    """A `CLIPVisionModel` or `ViTModel`, evaluating, on the CPU; `pooler_output` [B, D] is the state of [CLS]."""
    if info.kind == "med":
        model, _ = load_med(info.folder)
        return vit_of_med(model)
    if info.kind in _READ:
        model = load_model(_READ[info.kind], info.folder, "cpu", torch.float32)
        return vit_of(model) if info.kind != "vit" else _pooled_by_cls(model)
    return load_model("CLIPVisionModel", info.folder, "cpu", torch.float32)


def vit_of_med(med: MED) -> Any:
    """The image tower of a MED, which has a plain stem, as a `ViTModel`."""
    own = med.config
    weights: dict[str, Tensor] = {}
    for name, tensor in med.vision.state_dict().items():
        weights |= _named(name, tensor)
    return _vit(
        weights,
        hidden_size=own.vision_width,
        num_hidden_layers=own.vision_layers,
        num_attention_heads=own.vision_heads,
        image_size=own.image_size,
        patch_size=own.patch_size,
        layer_norm_eps=1e-5,
    )


def vit_of(model: Any) -> Any:
    """The encoder of a `ViTMAEForPreTraining`, or of a `BeitForMaskedImageModeling` with absolute positions."""
    own, weights = model.config, dict((model.vit if hasattr(model, "vit") else model.beit).state_dict())
    if hasattr(model, "beit"):
        weights = _without_scales(weights) | {f"layernorm.{k}": v for k, v in model.layernorm.state_dict().items()}
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size", "layer_norm_eps")
    return _vit(weights, **{name: getattr(own, name) for name in names})


def _without_scales(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a BEiT's encoder as those of a ViT: what scales a branch goes into its last layer."""
    scales = {"attention.o_proj": "lambda_1", "mlp.fc2": "lambda_2"}
    found = dict(weights)
    for name in weights:
        layer, _, part = name.partition("attention.k_proj.weight")
        if name.endswith("attention.k_proj.weight") and not part:
            found[f"{layer}attention.k_proj.bias"] = torch.zeros(len(weights[name]))  # a BEiT's keys have none
        for branch, scale in scales.items():
            if f".{branch}." in name:
                by = weights[f"{name.partition(f'{branch}.')[0]}{scale}"]
                found[name] = weights[name] * (by[:, None] if weights[name].ndim == 2 else by)
    return {name: tensor for name, tensor in found.items() if "lambda_" not in name and "mask_token" not in name}


def _vit(weights: dict[str, Tensor], **shape: Any) -> Any:
    from transformers import ViTConfig, ViTModel

    config: Any = ViTConfig
    made: Any = ViTModel(config(intermediate_size=4 * shape["hidden_size"], pooler_act="linear", **shape))
    lacking, unknown = made.load_state_dict(weights, strict=False)
    if unknown or any(not name.startswith("pooler.") for name in lacking):
        raise ValueError(f"tensors that do not fit a ViT: {[*unknown, *lacking][:3]}")
    return _pooled_by_cls(made.eval())


def med_tower(vit: Any) -> dict[str, Tensor]:
    """The weights of a `ViTModel` by the names of a MED's image tower."""
    state = {name: tensor for name, tensor in vit.state_dict().items() if not name.startswith("pooler.")}
    weights = {ours: state[theirs] for ours, theirs in _VIT.items() if theirs in state}
    for kind in ("weight", "bias"):
        weights |= {f"{ours}{kind}": state[f"{theirs}{kind}"] for ours, theirs in _VIT.items() if ours.endswith(".")}
        for layer in range(vit.config.num_hidden_layers):
            its = f"layers.{layer}."
            parts = [state[f"{its}attention.{one}_proj.{kind}"] for one in "qkv"]
            weights[f"{its}qkv.{kind}"] = torch.cat(parts)
            named = _LAYER | {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
            weights |= {f"{its}{ours}.{kind}": state[f"{its}{theirs}.{kind}"] for ours, theirs in named.items()}
    return weights


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
