"""A Q-Former's checkpoint: a directory that holds all that captioning needs.

| file | what |
|---|---|
| `config.json` | shapes of the Q-Former and of its image tower, the stage, the prompt |
| `model.safetensors` | `bridge.*` and the frozen tower, `vision.*` |
| `tokenizer.json` | the words of stage 1 |
| `language/` | stage 2: the frozen language model, as `transformers` saved it |
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import CONFIG, TOKENIZER, WEIGHTS
from capfilt.models.med.config import MEDConfig
from capfilt.models.pixels import PixelSpec
from capfilt.models.qformer.config import QFormerConfig

FORMAT: Final = "capfilt-qformer"
LANGUAGE: Final = "language"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What `config.json` says."""

    qformer: QFormerConfig
    tower: MEDConfig
    language_width: int = 0  # 0 = stage 1
    prompt: str = ""  # words the language model's captions start from

    @property
    def pixels(self) -> PixelSpec:
        """What pixels the image tower wants."""
        return PixelSpec(self.tower.image_size, "squash")

    @property
    def roles(self) -> tuple[str, ...]:
        """What it can be used for: after stage 2 it captions."""
        return ("captioner",) if self.language_width else ()


def describe(folder: Path) -> Described:
    """Shapes of the checkpoint in a directory.

    Raises:
        ModelError: no such file, or one that describes no Q-Former.
    """
    try:
        settings: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if settings.pop("format", None) != FORMAT:
            raise ModelError(f"{folder}: no Q-Former")
        qformer, tower = QFormerConfig(**settings.pop("qformer")), MEDConfig(**settings.pop("tower"))
        return Described(qformer=qformer, tower=tower, **settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: no readable {CONFIG} of a Q-Former ({error})") from error


def is_qformer(folder: Path) -> bool:
    """Whether a directory holds a Q-Former."""
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and settings.get("format") == FORMAT


def files(folder: Path) -> tuple[Path, ...]:
    """What the digest of a checkpoint is made of."""
    return (folder / CONFIG, folder / WEIGHTS, folder / TOKENIZER, *language_files(folder / LANGUAGE))


def language_files(folder: Path) -> tuple[Path, ...]:
    """Configuration, words and weights of a language model; none if it is not there."""
    return tuple(
        sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors", ".txt", ".model"))
    )
