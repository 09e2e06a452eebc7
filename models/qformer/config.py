"""How large a Q-Former is, and its checkpoint: a directory that holds all that captioning needs.

| file | what |
|---|---|
| `config.json` | shapes of the Q-Former and of its image tower, the stage, the prompt |
| `model.safetensors` | `bridge.*` and the frozen tower, `vision.*` |
| `tokenizer.json` | the words of stage 1 |
| `language/` | stage 2: the frozen language model, as `transformers` saved it |
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import CONFIG, TOKENIZER, WEIGHTS
from capfilt.models.json_file import read_object
from capfilt.models.med.config import MEDConfig
from capfilt.models.pixels import PixelSpec

FORMAT: Final = "capfilt-qformer"
LANGUAGE: Final = "language"


@dataclass(frozen=True, slots=True, kw_only=True)
class QFormerConfig:
    """Shape of a Q-Former; the defaults are the paper's: BERT-base and 32 queries (BLIP-2, section 3.1)."""

    queries: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    ffn: int = 3072
    cross_every: int = 2  # the first layer of so many sees the image
    vision_width: int = 768
    vocab_size: int = 30523  # BERT's 30522 + [DEC]
    max_positions: int = 512
    projection: int = 256  # width of the ITC features

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class QFormerSpec:
    """What `config.json` says."""

    qformer: QFormerConfig
    tower: MEDConfig
    language_width: int = 0  # 0 = stage 1
    prompt: str = ""  # words the language model's captions start from
    begins: bool = False  # a causal language model reads its begin of text before them; not so before December 2026

    @property
    def pixels(self) -> PixelSpec:
        """What pixels the image tower wants."""
        return PixelSpec(self.tower.image_size, "squash")

    @property
    def roles(self) -> tuple[str, ...]:
        """What it can be used for: after stage 2 it captions."""
        return ("captioner",) if self.language_width else ()


def describe(folder: Path) -> QFormerSpec:
    """Shapes of the checkpoint in a directory.

    Raises:
        ModelError: no such file, or one that describes no Q-Former.
    """
    try:
        settings = read_object(folder / CONFIG)
        if settings.pop("format", None) != FORMAT:
            raise ModelError(f"{folder}: not a Q-Former")
        qformer, tower = QFormerConfig(**settings.pop("qformer")), MEDConfig.from_dict(settings.pop("tower"))
        return QFormerSpec(qformer=qformer, tower=tower, **settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: no readable {CONFIG} of a Q-Former ({error})") from error


def is_qformer(folder: Path) -> bool:
    """Whether a directory holds a Q-Former."""
    try:
        return read_object(folder / CONFIG).get("format") == FORMAT
    except (OSError, ModelError):
        return False


def checkpoint_files(folder: Path) -> tuple[Path, ...]:
    """What the digest of a checkpoint is made of."""
    return (folder / CONFIG, folder / WEIGHTS, folder / TOKENIZER, *language_files(folder / LANGUAGE))


def language_files(folder: Path) -> tuple[Path, ...]:
    """Configuration, words and weights of a language model; none if it is not there."""
    return tuple(
        sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors", ".txt", ".model"))
    )
