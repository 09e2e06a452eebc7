"""The checkpoint of a model that answers questions about images."""

from pathlib import Path
from typing import Final

import torch

from capfilt.core.errors import ModelError
from capfilt.models.decoding.answers import Answerer
from capfilt.models.formats.checkpoint import CONFIG, TOKENIZER, WEIGHTS
from capfilt.models.formats.guarded import load_tensors
from capfilt.models.formats.weights import load_tokenizer, make_med, write_checkpoint
from capfilt.models.json_file import read_object
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.vqa import VQA
from capfilt.models.tokenizer import Tokenizer

FORMAT: Final = "capfilt-vqa"


def save_vqa(folder: Path, model: VQA, tokenizer: Tokenizer, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint."""
    write_checkpoint(folder, {"format": FORMAT, **model.config.to_dict()}, tokenizer, model.state_dict(), dtype)


def load_vqa(folder: Path, device: str = "cpu") -> Answerer:
    """Read a checkpoint.

    Raises:
        ModelError: a missing or unreadable file, or no checkpoint of VQA.
    """
    try:
        settings = read_object(folder / CONFIG)
        if settings.pop("format", None) != FORMAT:
            raise ModelError(f"{folder}: not a VQA model")
        model = VQA(make_med(MEDConfig.from_dict(settings), folder))
        model.load_state_dict(load_tensors([folder / WEIGHTS]))
        return Answerer(model.to(device), load_tokenizer(folder / TOKENIZER))
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: {str(error).splitlines()[0]}") from error
