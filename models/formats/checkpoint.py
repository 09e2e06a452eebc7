"""A MED's checkpoint is a directory: `config.json`, `model.safetensors` and a vocabulary. Nothing else is ever loaded.

Two kinds are known: ours, and published BLIP weights as `transformers` saves them (with `tokenizer.json` or
`vocab.txt`). What can be known of a checkpoint without torch stands here; `capfilt.models.formats.weights` reads the
tensors. Other families of models are told apart in `capfilt.models.registry.resolve`.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError
from capfilt.models.med.config import OLD_NAMES, Layout, MEDConfig

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
VOCABULARY: Final = "vocab.txt"
INDEX: Final = "model.safetensors.index.json"
FORMAT: Final = "capfilt-med"

_PUBLISHED: Final[dict[str, tuple[Layout, str]]] = {
    "BlipForConditionalGeneration": ("captioning", "captioner"),
    "BlipForImageTextRetrieval": ("retrieval", "filter"),
}


@dataclass(frozen=True, slots=True)
class Description:
    """What `config.json` says of a checkpoint."""

    config: MEDConfig
    roles: tuple[str, ...]  # what it was trained for: captioner, filter
    layout: Layout | None  # of published weights; None = our own names


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
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", WEIGHTS):
        if (folder / name).is_file():
            return [folder / name]
    if (folder / INDEX).is_file():
        shards = sorted({folder / name for name in json.loads((folder / INDEX).read_bytes())["weight_map"].values()})
        if missing := [path.name for path in shards if not path.is_file()]:
            raise ModelError(f"{folder}: {len(missing)} of {len(shards)} files of weights are missing: {missing[0]}")
        return shards
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".h5"))
    if pickled:
        raise ModelError(
            f"{folder}: only {pickled[0]}, and such files can run code; convert it: from_pretrained, save_pretrained"
        )
    raise ModelError(f"{folder}: no {WEIGHTS}")


def vocabulary(folder: Path) -> Path:
    """The file that holds a checkpoint's words."""
    return folder / (VOCABULARY if (folder / VOCABULARY).is_file() else TOKENIZER)


def describe(folder: Path) -> Description:
    """Shape and roles of the MED in a directory.

    Raises:
        ModelError: no such file, or one that describes no MED of ours and no BLIP.
    """
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no readable {CONFIG} ({error})") from error
    if isinstance(settings, dict) and settings.get("model_type") == "blip":
        return _published(settings, folder)
    if not isinstance(settings, dict) or settings.pop("format", None) != FORMAT:
        raise ModelError(f'{folder / CONFIG}: neither "format" is {FORMAT!r} nor "model_type" is "blip"')
    roles = tuple(settings.pop("roles", ()))
    known = {field.name for field in fields(MEDConfig)} | OLD_NAMES.keys()
    if unknown := sorted(set(settings) - known):
        raise ModelError(f"{folder / CONFIG}: unknown fields {', '.join(unknown)}")
    return Description(MEDConfig.from_dict(settings), roles, None)


def _published(settings: dict[str, Any], folder: Path) -> Description:
    """`transformers` leaves out what equals its defaults, so they stand here; text heads default to 8, not 12."""
    named = [*(settings.get("architectures") or ()), "BLIP of an unnamed class"]
    known = [name for name in named if name in _PUBLISHED]
    if not known:
        raise ModelError(f"{folder}: a {named[0]} neither captions nor judges; {' captions, '.join(_PUBLISHED)} judges")
    layout, role = _PUBLISHED[known[0]]
    vision, text = settings.get("vision_config") or {}, settings.get("text_config") or {}
    config = MEDConfig(
        name=folder.name,
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
    )
    return Description(config, (role,), layout)
