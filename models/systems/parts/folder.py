"""A checkpoint as `save_pretrained` writes it, so that `AutoModel` and `AutoProcessor` load it; whole or not there."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from capfilt.core.disk.put_in_place import put_in_place


def save_folder(folder: Path, model: Any, processor: Any, dtype: torch.dtype = torch.float32) -> None:
    """Write a model and its processor; weights come last, by a rename."""
    import transformers

    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    draft = folder / ".checkpoint"
    shutil.rmtree(draft, ignore_errors=True)
    weights = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    model.save_pretrained(draft, state_dict=weights)
    processor.save_pretrained(draft)
    for path in sorted(draft.iterdir(), key=lambda path: (path.suffix == ".safetensors", path.name)):
        put_in_place(path, folder / path.name)
    draft.rmdir()


def squash_processor(side: int, mean: Sequence[float], std: Sequence[float]) -> Any:
    """The image processor of what training showed: any picture squashed to a square of `side` pixels, bicubic."""
    from transformers import BlipImageProcessor

    make: Any = BlipImageProcessor
    return make(size={"height": side, "width": side}, image_mean=list(mean), image_std=list(std))
