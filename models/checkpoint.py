"""A checkpoint is a directory: `config.json`, `model.safetensors` and a vocabulary. Nothing else is ever loaded.

Two kinds are known: ours, and published BLIP weights as `transformers` saves them (with `tokenizer.json` or
`vocab.txt`). What can be known of a checkpoint without torch stands here; `capfilt.models.weights` reads the tensors.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from capfilt.errors import ModelError
from capfilt.models.med.config import MEDConfig

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
VOCABULARY: Final = "vocab.txt"
FORMAT: Final = "capfilt-med"

Layout = Literal["captioning", "retrieval"]

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


def digest(folder: Path) -> str:
    """First 12 hex digits of the sha256 over a checkpoint's files; stands for "which weights" in every caption.

    Raises:
        ModelError: a file that is not there or cannot be read.
    """
    total = hashlib.sha256()
    for path in (folder / CONFIG, folder / WEIGHTS, vocabulary(folder)):
        try:
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise ModelError(f"{folder}: no readable {path.name} ({error.strerror})") from error
    return total.hexdigest()[:12]


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
    known = {field.name for field in fields(MEDConfig)}
    if unknown := sorted(set(settings) - known):
        raise ModelError(f"{folder / CONFIG}: unknown fields {', '.join(unknown)}")
    return Description(MEDConfig(**settings), roles, None)


def _published(settings: dict[str, Any], folder: Path) -> Description:
    """`transformers` leaves out what equals its defaults, so they stand here; text heads default to 8, not 12."""
    known = [name for name in settings.get("architectures") or () if name in _PUBLISHED]
    if not known:
        raise ModelError(f"{folder / CONFIG}: architectures is none of {', '.join(_PUBLISHED)}")
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
