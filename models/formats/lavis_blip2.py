"""BLIP-2's Q-Former as LAVIS saves it, under the names of `Blip2ForImageTextRetrieval` of `transformers`.

Stage 1 (`blip2_pretrained.pth`) holds the Q-Former alone, its frozen image tower is a file of its own
(`eva_vit_g.pth`); what was tuned for retrieval (`blip2_finetune_coco.pth`) holds both.
"""

import re
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from capfilt.core.errors import ModelError

_TOWER: Final = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
)
_QFORMER: Final = (
    (r"^Qformer\.bert\.embeddings\.LayerNorm\.", "qformer.layernorm."),
    (r"^Qformer\.bert\.embeddings\.", "embeddings."),
    (
        r"^Qformer\.bert\.encoder\.layer\.(\d+)\.(cross)?attention\.self\.",
        r"qformer.encoder.layer.\1.\2attention.attention.",
    ),
    (r"^Qformer\.bert\.encoder\.", "qformer.encoder."),
    (r"^ln_vision\.", "vision_model.post_layernorm."),
    (r"^vision_proj\.", "vision_projection."),
    (r"^text_proj\.", "text_projection."),
    (r"^(query_tokens$|itm_head\.)", r"\1"),
)
_UNUSED: Final = re.compile(r"^temp$|position_ids|^Qformer\.cls\.")
"""The head of ITG, and what is no weight of a judge."""
# EVA's own last norm and its classifier: BLIP-2 has `ln_vision` in their place.
_TOWER_UNUSED: Final = re.compile(r"^(norm|fc_norm|head)\.")
_EVA_G: Final = {"width": 1408, "heads": 16, "layers": 39}
"""EVA-ViT-g has 40 layers; BLIP-2 reads the states of the last but one. Its heads are 88 wide, all others' 64."""


def from_lavis(
    source: Path, tensors: dict[str, Tensor], tower: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and `config.json` of the judge.

    Args:
        tower: tensors of the image tower's own file; {} where `tensors` holds it.

    Raises:
        ModelError: no matching head, no image tower, or a tensor that is not known.
    """
    if "itm_head.weight" not in tensors:
        raise ModelError(
            f"{source}: BLIP-2 of stage 2, which captions with a language model, is not converted; only stage 1 and "
            "what was tuned for retrieval are"
        )
    inside = {name: tensor for name, tensor in tensors.items() if name.startswith("visual_encoder.")}
    tower = {name.removeprefix("visual_encoder."): tensor for name, tensor in (inside or tower).items()}
    if "pos_embed" not in tower:
        raise ModelError(f"{source}: its image tower is not in it; name its file (eva_vit_g.pth) by --vision")
    own = {name: tensor for name, tensor in tensors.items() if name not in inside and not _UNUSED.search(name)}
    renamed = {_renamed(source, name, _QFORMER): tensor for name, tensor in own.items()}
    renamed |= {f"vision_model.{name}": tensor for name, tensor in _renamed_tower(source, tower).items()}
    return renamed, _config(renamed)


def _renamed_tower(source: Path, tower: dict[str, Tensor]) -> dict[str, Tensor]:
    layers = _EVA_G["layers"] if tower["pos_embed"].shape[-1] == _EVA_G["width"] else len(tower)
    found: dict[str, Tensor] = {}
    for name, tensor in tower.items():
        layer = re.match(r"blocks\.(\d+)\.", name)
        if _TOWER_UNUSED.match(name) or (layer and int(layer[1]) >= layers) or name.endswith(".v_bias"):
            continue
        if name.endswith(".q_bias"):  # keys have no bias in EVA
            value = tower[name.replace(".q_bias", ".v_bias")]
            name, tensor = name.replace(".q_bias", ".qkv.bias"), torch.cat([tensor, torch.zeros_like(value), value])
        found[_renamed(source, name, _TOWER)] = tensor
    return found


def _renamed(source: Path, name: str, names: tuple[tuple[str, str], ...]) -> str:
    for pattern, theirs in names:
        renamed, done = re.subn(pattern, theirs, name)
        if done:
            return renamed
    raise ModelError(f"{source}: {name} is no tensor of BLIP-2")


def _config(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Shapes as the tensors have them."""
    patch = tensors["vision_model.embeddings.patch_embedding.weight"]
    width, patches = patch.shape[0], tensors["vision_model.embeddings.position_embedding"].shape[1] - 1
    word = tensors["embeddings.word_embeddings.weight"]
    crossed = _numbers(tensors, r"qformer\.encoder\.layer\.(\d+)\.crossattention\.")
    vision = {
        "hidden_size": width,
        "intermediate_size": tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(_numbers(tensors, r"vision_model\.encoder\.layers\.(\d+)\.")),
        "num_attention_heads": _EVA_G["heads"] if width == _EVA_G["width"] else max(1, width // 64),
        "patch_size": patch.shape[-1],
        "image_size": round(patches**0.5) * patch.shape[-1],
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
        "qkv_bias": True,
    }
    qformer = {
        "vocab_size": word.shape[0],
        "hidden_size": word.shape[1],
        "intermediate_size": tensors["qformer.encoder.layer.0.intermediate.dense.weight"].shape[0],
        "num_hidden_layers": len(_numbers(tensors, r"qformer\.encoder\.layer\.(\d+)\.")),
        "num_attention_heads": max(1, word.shape[1] // 64),
        "max_position_embeddings": tensors["embeddings.position_embeddings.weight"].shape[0],
        # Layer 0 has cross-attention, so the next one that has it tells how often it comes.
        "cross_attention_frequency": crossed[1] if len(crossed) > 1 else 2,
        "encoder_hidden_size": width,
        "use_qformer_text_input": True,
    }
    return {
        "model_type": "blip-2",
        "architectures": ["Blip2ForImageTextRetrieval"],
        "vision_config": vision,
        "qformer_config": qformer,
        "num_query_tokens": tensors["query_tokens"].shape[1],
        "image_text_hidden_size": tensors["text_projection.weight"].shape[0],
    }


def _numbers(tensors: dict[str, Tensor], pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in tensors if (found := re.match(pattern, name))})


def image_processor(config: dict[str, Any]) -> dict[str, Any]:
    """`preprocessor_config.json`: a picture is resized to a square, and normalized as for CLIP."""
    side = config["vision_config"]["image_size"]
    return {
        "image_processor_type": "BlipImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }
