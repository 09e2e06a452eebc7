"""A MED's checkpoint is a directory: `config.json`, `model.safetensors` and a vocabulary. Nothing else is ever loaded.

Two kinds are known: ours, and published BLIP weights as `transformers` saves them (with `tokenizer.json` or
`vocab.txt`). What can be known of a checkpoint without torch stands here; `capfilt.models.formats.weights` reads the
tensors. Other families of models are distinguished in `capfilt.models.registry.resolve`.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError
from capfilt.models.json_file import read_object
from capfilt.models.med.config import OLD_NAMES, Layout, MEDConfig

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
VOCABULARY: Final = "vocab.txt"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
INDEX: Final = "model.safetensors.index.json"
ADAPTER: Final = "adapter_config.json"
OPEN_CLIP_WEIGHTS: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5")
"""Endings of files that hold weights and can run code when they are read."""
FORMAT: Final = "capfilt-med"

_PUBLISHED: Final[dict[str, tuple[Layout, str]]] = {
    "BlipForConditionalGeneration": ("captioning", "captioner"),
    "BlipForImageTextRetrieval": ("retrieval", "filter"),
}


_SUPPORTED: Final[dict[str, dict[str, Any]]] = {
    "vision_config": {"hidden_act": "gelu", "layer_norm_eps": 1e-5, "num_channels": 3},
    "text_config": {
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "is_decoder": True,
        "position_embedding_type": "absolute",
    },
}
"""Settings of a published BLIP that change its numbers, with the only value that a MED has; also the default."""
_PIXELS: Final = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_center_crop": False,
    "rescale_factor": 1 / 255,
}
"""The same of its image processor."""
_DEC: Final = 30522
_BERT: Final = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Settings of BERT's tokenizer, and what its normalizer calls them."""


@dataclass(frozen=True, slots=True)
class Description:
    """What `config.json` says of a checkpoint."""

    config: MEDConfig
    roles: tuple[str, ...]  # what it was trained for: captioner, filter
    layout: Layout | None  # of published weights; None = our own names
    prompt: str = ""  # what its captions began with in training
    first: int | None = None  # id of [DEC], by which published weights know their words


def digest(files: Iterable[Path]) -> str:
    """First 12 hex digits of the sha256 over a model's files; stands for "which weights" in every caption.

    Raises:
        ModelError: a file that is not there or cannot be read.
    """
    total = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise ModelError(f"{path.parent}: no readable {path.name} ({error.strerror})") from error
    return total.hexdigest()[:12]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a directory, all shards; those of open_clip where it holds them for `transformers` too.

    Raises:
        ModelError: there are none, or only pickled ones, which can run code when they are read.
    """
    for name in (*OPEN_CLIP_WEIGHTS, WEIGHTS):
        if (folder / name).is_file():
            return [folder / name]
    if (folder / INDEX).is_file():
        return _shards(folder)
    if (folder / ADAPTER).is_file():
        raise ModelError(
            f"{folder}: a LoRA adapter is no model of its own; `capfilt convert {folder} --to DIR` merges it"
        )
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled:
        command = f"`capfilt convert {folder / pickled[0]} --to DIR`"
        raise ModelError(f"{folder}: only {pickled[0]}, and such files can run code; {command}")
    raise ModelError(f"{folder}: no {WEIGHTS}")


def _shards(folder: Path) -> list[Path]:
    """The files that an index names.

    Raises:
        ModelError: a broken index, one that leads out of the folder, or a missing file.
    """
    try:
        names = sorted(set(read_object(folder / INDEX)["weight_map"].values()))
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / INDEX}: {error}") from error
    if strange := [name for name in names if Path(name).name != name]:
        raise ModelError(f"{folder / INDEX}: {strange[0]!r} leads out of the folder")
    shards = [folder / name for name in names]
    if missing := [path.name for path in shards if not path.is_file()]:
        raise ModelError(f"{folder}: {len(missing)} of {len(shards)} files of weights are missing: {missing[0]}")
    return shards


def vocabulary(folder: Path) -> Path:
    """The file that holds a checkpoint's words."""
    return folder / (VOCABULARY if (folder / VOCABULARY).is_file() else TOKENIZER)


def bert_settings(folder: Path) -> dict[str, Any]:
    """What `tokenizer_config.json` says of case, accents and Chinese, as arguments of BERT's normalizer."""
    said = _json_if_there(folder / TOKENIZER_CONFIG)
    return {"lowercase": True} | {ours: said[theirs] for theirs, ours in _BERT.items() if theirs in said}


def med_files(folder: Path) -> list[Path]:
    """What is read of a MED's checkpoint, and what its digest is made of."""
    files = [folder / CONFIG, *weight_files(folder), vocabulary(folder)]
    by_config = vocabulary(folder).name == VOCABULARY and bert_settings(folder) != {"lowercase": True}
    return [*files, folder / TOKENIZER_CONFIG] if by_config else files


def _json_if_there(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except FileNotFoundError:
        return {}


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint.

    Raises:
        ModelError: there is none, or it is no JSON object.
    """
    try:
        return read_object(folder / CONFIG)
    except FileNotFoundError as error:
        raise ModelError(f"{folder}: no readable {CONFIG} ({error})") from error


def describe(folder: Path) -> Description:
    """Shape and roles of the MED in a directory.

    Raises:
        ModelError: no such file, or one that describes no MED of ours and no BLIP.
    """
    settings = read_config(folder)
    if settings.get("model_type") == "blip":
        return _published(settings, folder)
    if settings.pop("format", None) != FORMAT:
        raise ModelError(f'{folder / CONFIG}: neither "format" is {FORMAT!r} nor "model_type" is "blip"')
    roles, prompt = tuple(settings.pop("roles", ())), str(settings.pop("prompt", ""))
    known = {field.name for field in fields(MEDConfig)} | OLD_NAMES.keys()
    if unknown := sorted(set(settings) - known):
        raise ModelError(f"{folder / CONFIG}: unknown fields {', '.join(unknown)}")
    try:
        return Description(MEDConfig.from_dict(settings), roles, None, prompt)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error


def _published(settings: dict[str, Any], folder: Path) -> Description:
    """`transformers` leaves out what equals its defaults, so they stand here; text heads default to 8, not 12."""
    named = [*(settings.get("architectures") or ()), "BLIP of an unnamed class"]
    known = [name for name in named if name in _PUBLISHED]
    if not known:
        raise ModelError(f"{folder}: a {named[0]} neither captions nor judges; {' captions, '.join(_PUBLISHED)} judges")
    layout, role = _PUBLISHED[known[0]]
    vision, text = settings.get("vision_config") or {}, settings.get("text_config") or {}
    check_unquantized(settings, folder)
    for part, wanted in _SUPPORTED.items():
        own = settings.get(part) or {}
        check_values(own, wanted, folder / CONFIG, f"{part}.")
    for name in ("preprocessor_config.json", "processor_config.json"):
        said = _json_if_there(folder / name)
        check_values(said.get("image_processor", said), _PIXELS, folder / name)
    try:
        config = _published_shape(settings, vision, text, folder.name)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from error
    # Of BERT's 30522 words [DEC] is the next; `transformers` leaves that number out where it saves one.
    first = text.get("bos_token_id", _DEC if config.vocab_size > _DEC else None)
    return Description(config, (role,), layout, first=first)


def _published_shape(settings: dict[str, Any], vision: dict[str, Any], text: dict[str, Any], name: str) -> MEDConfig:
    return MEDConfig(
        name=name,
        image_size=vision.get("image_size", 384),
        patch_size=vision.get("patch_size", 16),
        vision_width=vision.get("hidden_size", 768),
        vision_layers=vision.get("num_hidden_layers", 12),
        vision_heads=vision.get("num_attention_heads", 12),
        text_width=text.get("hidden_size", 768),
        text_layers=text.get("num_hidden_layers", 12),
        text_heads=text.get("num_attention_heads", 8),
        text_ffn=text.get("intermediate_size", 3072),
        vocab_size=text.get("vocab_size", 30524),
        max_positions=text.get("max_position_embeddings", 512),
        projection=settings.get("image_text_hidden_size", 256),
        tie_word_embeddings=any(part.get("tie_word_embeddings", True) for part in (settings, text)),
    )


def check_unquantized(settings: dict[str, Any], folder: Path) -> None:
    """Raise a `ModelError` where `config.json` says that weights are quantized, which its reader does not undo."""
    if method := settings.get("quantization_config"):
        raise ModelError(f"{folder / CONFIG}: quantization_config = {str(method)[:80]} is not supported")


def check_values(settings: dict[str, Any], wanted: dict[str, Any], file: Path, part: str = "") -> None:
    """Raise a `ModelError` that names a setting whose value is another than the one that is supported."""
    for name, value in wanted.items():
        said = settings.get(name, value)
        same = said == value or (isinstance(value, float) and said is not None and math.isclose(said, value))
        if said is not None and not same:
            raise ModelError(f"{file}: {part}{name} = {said!r} is not supported, only {value!r}")
