"""Checkpoints in other forms, rewritten as a directory that loads: safetensors, configuration, words.

| form | how it is known |
|---|---|
| BLIP as its authors saved it (`.pth`) | tensors of `visual_encoder.` |
| BLIP-2 of stage 1, or tuned for retrieval, as LAVIS saved it (`.pth`) | tensors of `Qformer.` |
| open_clip's training (`epoch_5.pt`) | tensors of `visual.` and a `logit_scale`; the architecture must be named |
| Alpha-CLIP as its authors saved it (`.pth`) | a tensor `conv1_alpha.weight`; the CLIP it starts from must be named |
| pickled weights of `transformers` (`pytorch_model.bin`) | a `config.json` beside |
| a LoRA adapter (directory) | `adapter_config.json`; the model it was trained on must be named |

Pickles are read by `torch.load` with `weights_only`: a file that wants more than tensors is refused.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file
from torch import Tensor

from capfilt.core.errors import ModelError
from capfilt.models.formats.alpha_clip_source import MASKS, from_published
from capfilt.models.formats.checkpoint import (
    ADAPTER,
    CONFIG,
    TOKENIZER_CONFIG,
    VOCABULARY,
    WEIGHTS,
    read_config,
    weight_files,
)
from capfilt.models.formats.guarded import load_pickle, load_tensors
from capfilt.models.formats.image_processor import read_image_processor
from capfilt.models.formats.lavis_blip2 import from_lavis, image_processor
from capfilt.models.formats.model_info import ALPHA, ONES
from capfilt.models.formats.open_clip_source import CONFIG as OPEN_CLIP_CONFIG
from capfilt.models.formats.open_clip_source import architecture_shape
from capfilt.models.json_file import read_object
from capfilt.models.refusal import refused_in_a_line

_BLIP: Final = (
    (r"^visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual_encoder\.pos_embed$", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.norm\.", "vision_model.post_layernorm."),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision_model.encoder.layers.\1.self_attn.projection."),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.", r"vision_model.encoder.layers.\1.self_attn."),
    (r"^visual_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision_model.encoder.layers.\1.layer_norm\2."),
    (r"^visual_encoder\.blocks\.(\d+)\.mlp\.", r"vision_model.encoder.layers.\1.mlp."),
)
"""Names of BLIP's own code, and those of `transformers`; the text side is called alike."""
_MOVED: Final = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways of peft to begin an adapter that take something out of the base model."""
_UNUSED: Final = re.compile(r"_m\.|queue|^temp$|position_ids|^text_encoder\.cls\.")
_LAYOUTS: Final = {
    "captioner": ("BlipForConditionalGeneration", ("vision_model.", "text_decoder.")),
    "filter": (
        "BlipForImageTextRetrieval",
        ("vision_model.", "text_encoder.", "vision_proj.", "text_proj.", "itm_head."),
    ),
}


def convert(
    source: Path,
    to: Path,
    architecture: str = "",
    base: Path | None = None,
    words: Path | None = None,
    vision: Path | None = None,
) -> str:
    """Rewrite a checkpoint; gives what it was, in words.

    Args:
        architecture: of open_clip, for its training files.
        base: the model that a LoRA adapter or an Alpha-CLIP was trained on.
        words: `vocab.txt` of BERT, or a folder that holds it; by default beside the source.
        vision: file of the image tower of a BLIP-2 that lacks it.

    Raises:
        ModelError: a file of no known form, what it needs is missing, or `to` is there already.
    """
    if to.exists() and list(to.iterdir()):
        raise ModelError(f"--to {to}: it is not empty")
    with refused_in_a_line(str(source), passes=(OSError,)):
        return _convert(source, to, architecture, base, words, vision)


def _convert(
    source: Path, to: Path, architecture: str, base: Path | None, words: Path | None, vision: Path | None
) -> str:
    if (source / ADAPTER).is_file():
        return _lora(source, to, base)
    if not source.is_file():
        raise ModelError(f"{source}: no file, and no directory of a LoRA adapter")
    tensors = _tensors(source)
    names = set(tensors)
    if any(name.startswith("Qformer.") for name in names):
        return _blip2(source, tensors, to, words, vision)
    if any(name.startswith("visual_encoder.") for name in names):
        return _blip(source, tensors, to, words)
    if any(name.removeprefix("visual.") == MASKS for name in names):
        return _alpha_clip(source, tensors, to, base)
    if "logit_scale" in names and any(name.startswith("visual.") for name in names):
        return _open_clip(source, tensors, to, architecture)
    if (source.parent / CONFIG).is_file():
        return _beside(source, tensors, to)
    raise ModelError(f"{source}: neither BLIP, open_clip nor a model of transformers with its {CONFIG} beside it")


def _tensors(source: Path) -> dict[str, Tensor]:
    """The tensors of a file, whatever they are wrapped in."""
    held: Any = load_tensors([source]) if source.suffix == ".safetensors" else load_pickle(source)
    for key in ("state_dict", "model", "module"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not any(isinstance(value, Tensor) for value in held.values()):
        raise ModelError(f"{source}: it holds no tensors by name")
    return {str(name).removeprefix("module."): value for name, value in held.items() if isinstance(value, Tensor)}


def _blip(source: Path, tensors: dict[str, Tensor], to: Path, words: Path | None) -> str:
    """Captioner, filter, or both, each in a directory of its own."""
    vocabulary = _vocabulary(source, words)
    # Momentum copies and queues of BLIP's pretraining go: nothing that captions or judges reads them.
    renamed = {_renamed(name): tensor for name, tensor in tensors.items() if not _UNUSED.search(name)}
    found = {
        role: {name: tensor for name, tensor in renamed.items() if name.startswith(prefixes)}
        for role, (_, prefixes) in _LAYOUTS.items()
        if any(name.startswith({"captioner": "text_decoder.", "filter": "itm_head."}[role]) for name in renamed)
    }
    if not found:
        raise ModelError(f"{source}: a BLIP with neither a decoder nor a matching head")
    for role, own in found.items():
        folder = to / role if len(found) > 1 else to
        _save(folder, own)
        settings = _blip_config(own) | {"architectures": [_LAYOUTS[role][0]]}
        (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(vocabulary, folder / VOCABULARY)
    return f"BLIP, {' and '.join(found)}"


def _blip2(source: Path, tensors: dict[str, Tensor], to: Path, words: Path | None, vision: Path | None) -> str:
    vocabulary = _vocabulary(source, words)
    renamed, settings = from_lavis(source, tensors, _tensors(vision) if vision else {})
    _save(to, renamed)
    bert = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    for name, content in (
        (CONFIG, settings),
        ("preprocessor_config.json", image_processor(settings)),
        (TOKENIZER_CONFIG, bert),
    ):
        (to / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(vocabulary, to / VOCABULARY)
    return "BLIP-2, filter"


def _vocabulary(source: Path, words: Path | None) -> Path:
    place = words or source.parent
    file = place / VOCABULARY if place.is_dir() else place
    if not file.is_file():
        raise ModelError(f"{source}: BLIP's words are not in it; name BERT's {VOCABULARY} by --words")
    return file


def _renamed(name: str) -> str:
    for pattern, theirs in _BLIP:
        name, done = re.subn(pattern, theirs, name)
        if done:
            break
    return name


def _blip_config(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Shapes as the tensors have them; heads are 64 wide in every published BLIP."""
    patch = tensors["vision_model.embeddings.patch_embedding.weight"]
    width, patches = patch.shape[0], tensors["vision_model.embeddings.position_embedding"].shape[1] - 1
    bert = "text_decoder.bert" if any(name.startswith("text_decoder.") for name in tensors) else "text_encoder"
    word = tensors[f"{bert}.embeddings.word_embeddings.weight"]
    ffn = tensors[f"{bert}.encoder.layer.0.intermediate.dense.weight"].shape[0]
    vision = {
        "hidden_size": width,
        "num_hidden_layers": _layers(tensors, r"vision_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": max(1, width // 64),
        "patch_size": patch.shape[-1],
        "image_size": round(patches**0.5) * patch.shape[-1],
        "intermediate_size": tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
    }
    text = {
        "hidden_size": word.shape[1],
        "vocab_size": word.shape[0],
        "num_hidden_layers": _layers(tensors, r"encoder\.layer\.(\d+)\."),
        "num_attention_heads": max(1, word.shape[1] // 64),
        "intermediate_size": ffn,
        "encoder_hidden_size": width,
        "max_position_embeddings": tensors[f"{bert}.embeddings.position_embeddings.weight"].shape[0],
    }
    projection = tensors["text_proj.weight"].shape[0] if "text_proj.weight" in tensors else 256
    return {"model_type": "blip", "vision_config": vision, "text_config": text, "image_text_hidden_size": projection}


def _layers(tensors: dict[str, Tensor], pattern: str) -> int:
    return 1 + max(int(found[1]) for name in tensors if (found := re.search(pattern, name)))


def _open_clip(source: Path, tensors: dict[str, Tensor], to: Path, architecture: str) -> str:
    if not architecture:
        raise ModelError(f"{source}: a training of open_clip; name its architecture by --architecture, e.g. ViT-B-32")
    shape = architecture_shape(f"open_clip:{architecture}", architecture)
    _save(to, tensors, "open_clip_model.safetensors")
    settings = {"model_cfg": shape, "preprocess_cfg": {}}
    (to / OPEN_CLIP_CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return f"open_clip {architecture}"


def _alpha_clip(source: Path, tensors: dict[str, Tensor], to: Path, base: Path | None) -> str:
    if base is None or not base.is_dir():
        raise ModelError(f"{source}: name the directory of the CLIP it was trained from by --base")
    settings = read_config(base)
    if settings.get("model_type") != "clip":
        raise ModelError(f"--base {base}: no CLIP as transformers saves it")
    visual = {name: tensor for name, tensor in tensors.items() if name.startswith("visual.")} or tensors
    merged = from_published(visual, load_tensors(weight_files(base)))
    side = settings.get("vision_config", {}).get("image_size", 224)
    _save(to, merged)
    _copy_small(base, to)
    # Squashed, and not cropped as by CLIP: boxes at the borders would be cut off, and Alpha-CLIP was trained on all.
    pixels = read_image_processor(base) | {
        "image_processor_type": "BlipImageProcessor",
        "size": {"height": side, "width": side},
        "do_center_crop": False,
    }
    (to / "processor_config.json").unlink(missing_ok=True)
    for name, content in ((CONFIG, settings | {ALPHA: ONES}), ("preprocessor_config.json", pixels)):
        (to / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return "Alpha-CLIP, filter"


def _beside(source: Path, tensors: dict[str, Tensor], to: Path) -> str:
    _save(to, tensors)
    _copy_small(source.parent, to)
    return "a model of transformers"


def _lora(source: Path, to: Path, base: Path | None) -> str:
    """The base model with the adapter added to its weights: W + alpha / r * B A."""
    settings = read_object(source / ADAPTER)
    if base is None or not base.is_dir():
        known = settings.get("base_model_name_or_path", "")
        raise ModelError(f"{source}: name the directory of the model it was trained on by --base (there: {known!r})")
    for name in ("rank_pattern", "alpha_pattern", "use_dora", "fan_in_fan_out", "modules_to_save"):
        if settings.get(name):
            raise ModelError(f"{source}: {ADAPTER} sets {name}, which is not merged here; use peft's merge_and_unload")
    if str(settings.get("init_lora_weights", "")).lower().startswith(_MOVED):
        raise ModelError(f"{source}: its init_lora_weights changed the base model; use peft's merge_and_unload")
    weights = load_tensors(weight_files(base))
    adapter = load_tensors([source / "adapter_model.safetensors"])
    rank = settings["r"]
    scale = settings["lora_alpha"] / (rank**0.5 if settings.get("use_rslora") else rank)
    for name, down in adapter.items():
        module, sign, _ = name.removeprefix("base_model.model.").partition(".lora_A.")
        target = f"{module}.weight"
        if not sign and ".lora_B." in name:
            continue
        if not sign or target not in weights or weights[target].ndim != 2:
            raise ModelError(f"{source}: {name} cannot be merged into {base}")
        up = adapter[name.replace(".lora_A.", ".lora_B.")]
        if (len(up), *down.shape) != (len(weights[target]), rank, weights[target].shape[1]):
            raise ModelError(f"{source}: {name} does not fit {target} of {base}, or r = {rank}")
        # The product in float32: adapters are often saved in half precision.
        weights[target] = weights[target] + (scale * (up.float() @ down.float())).to(weights[target].dtype)
    if not adapter:
        raise ModelError(f"{source}: an adapter without tensors")
    _save(to, weights)
    _copy_small(base, to)
    return f"a LoRA adapter, merged into {base}"


def _save(folder: Path, tensors: dict[str, Tensor], name: str = WEIGHTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {key: tensor.clone().contiguous() for key, tensor in tensors.items()}  # none may share its memory
    save_file(whole, folder / name, metadata={"format": "pt"})


def _copy_small(source: Path, to: Path) -> None:
    """Configuration, words and templates; no code and no index of shards."""
    for path in sorted(source.iterdir()):
        if path.suffix in (".json", ".txt", ".model", ".jinja") and not path.name.endswith(".index.json"):
            shutil.copyfile(path, to / path.name)
