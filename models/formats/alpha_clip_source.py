"""The published weights of Alpha-CLIP: an image tower in the names of OpenAI's code; the rest is OpenAI's CLIP."""

import re
from collections.abc import Mapping
from typing import Final

from torch import Tensor

from capfilt.core.errors import ModelError

MASKS: Final = "conv1_alpha.weight"
"""The tensor by which such a file is known."""

_TOWER: Final = "vision_model."
_NAMES: Final = (
    (r"conv1\.weight", "embeddings.patch_embedding.weight"),
    (r"conv1_alpha\.weight", "embeddings.alpha.weight"),
    (r"class_embedding", "embeddings.class_embedding"),
    (r"positional_embedding", "embeddings.position_embedding.weight"),
    (r"ln_pre\.(.*)", r"pre_layrnorm.\1"),
    (r"ln_post\.(.*)", r"post_layernorm.\1"),
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(.*)", r"encoder.layers.\1.layer_norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.*)", r"encoder.layers.\1.self_attn.out_proj.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.*)", r"encoder.layers.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.*)", r"encoder.layers.\1.mlp.fc2.\2"),
)
"""Their names, and those of `transformers`."""
_STACKED: Final = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj[._](weight|bias)")


def from_published(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a `CLIPModel` whose image tower is the published one.

    Args:
        base: the tensors of the CLIP it was trained from, which gives the text tower.

    Raises:
        ModelError: a tensor that an image tower does not have, lacks, or has in another shape.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found |= _renamed(name.removeprefix("visual."), tensor)
    wanted = {name: tensor for name, tensor in base.items() if name.startswith((_TOWER, "visual_projection."))}
    for name, tensor in wanted.items():
        if name not in found or found[name].shape != tensor.shape:
            raise ModelError(f"these weights were not trained from --base: {name} has another shape there")
    unknown = sorted(found.keys() - wanted.keys() - {f"{_TOWER}embeddings.alpha.weight"})
    if unknown:
        raise ModelError(f"these weights were not trained from --base: it has no {unknown[0]}")
    return {**base, **{name: tensor.float() for name, tensor in found.items()}}


def _renamed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name == "proj":
        return {"visual_projection.weight": tensor.T}
    if stacked := _STACKED.fullmatch(name):
        layer, kind = stacked.groups()
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{_TOWER}encoder.layers.{layer}.self_attn.{one}_proj.{kind}": part for one, part in parts}
    for pattern, ours in _NAMES:
        if re.fullmatch(pattern, name):
            return {_TOWER + re.sub(pattern, ours, name): tensor}
    raise ModelError(f"{name} is no tensor of an Alpha-CLIP image tower")
