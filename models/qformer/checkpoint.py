"""The tensors of a Q-Former's checkpoint, written and read. Safetensors only."""

import os
import shutil
from pathlib import Path

import torch

from capfilt.core.disk.put_in_place import put_in_place
from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import TOKENIZER, WEIGHTS
from capfilt.models.formats.guarded import load_tensors
from capfilt.models.formats.weights import load_tokenizer, write_checkpoint
from capfilt.models.med.vision import VisionTransformer
from capfilt.models.qformer.bridge import Bridge
from capfilt.models.qformer.config import FORMAT, LANGUAGE, QFormerSpec, describe
from capfilt.models.tokenizer import Tokenizer


def save(
    folder: Path,
    bridge: Bridge,
    described: QFormerSpec,
    tokenizer: Tokenizer,
    language: Path | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint, its language model first.

    Args:
        language: the directory of the language model; its files are linked where that is possible, else copied.
    """
    settings = {
        "format": FORMAT,
        "qformer": described.qformer.to_dict(),
        "tower": described.tower.to_dict(),
        "language_width": described.language_width,
        "prompt": described.prompt,
        "begins": described.begins,
    }
    folder.mkdir(parents=True, exist_ok=True)
    if language and not (folder / LANGUAGE).is_dir():
        _take(language, folder / LANGUAGE)
    tensors = {f"bridge.{name}": tensor for name, tensor in bridge.state_dict().items()}
    tensors |= {f"vision.{name}": tensor for name, tensor in bridge.vision.module.state_dict().items()}
    write_checkpoint(folder, settings, tokenizer, tensors, dtype)


def load(folder: Path) -> tuple[Bridge, QFormerSpec, Tokenizer]:
    """Read a checkpoint, without its language model.

    Raises:
        ModelError: a missing or unreadable file, or weights that are not those of the configuration.
    """
    described = describe(folder)
    bridge = Bridge(described.qformer, VisionTransformer(described.tower), described.language_width)
    try:
        weights = load_tensors([folder / WEIGHTS])
        own = {part: _under(f"{part}.", weights) for part in ("bridge", "vision")}
        bridge.load_state_dict(own["bridge"])
        bridge.vision.module.load_state_dict(own["vision"])
        return bridge, described, load_tokenizer(folder / TOKENIZER)
    except Exception as error:  # tokenizers and safetensors raise bare Exceptions
        raise ModelError(f"{folder}: {type(error).__name__}: {str(error).splitlines()[0]}") from error


def _under(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor.float() for name, tensor in weights.items() if name.startswith(prefix)}


def _take(source: Path, target: Path) -> None:
    """The files of a directory, linked or copied, whole or not at all."""
    draft = target.with_name(f".{target.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for path in sorted(path for path in source.iterdir() if path.is_file()):
        real = path.resolve()
        try:
            # A language model is gigabytes; linked, it takes no room and no time.
            os.link(real, draft / path.name)
        except OSError:  # another disk
            shutil.copyfile(real, draft / path.name)
    put_in_place(draft, target)
