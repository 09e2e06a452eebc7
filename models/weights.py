"""The tensors of a checkpoint directory, written and read. Safetensors only."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from capfilt.errors import ModelError
from capfilt.models.checkpoint import CONFIG, FORMAT, TOKENIZER, WEIGHTS, read_config
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer


def save_med(
    folder: Path, model: MED, tokenizer: Tokenizer, roles: tuple[str, ...], dtype: torch.dtype = torch.float32
) -> None:
    """Write a checkpoint; the weights last, so that a directory with weights is whole.

    `roles` says what it was trained for (captioner, filter), so that nobody uses it for the other by mistake.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = {"format": FORMAT, "roles": list(roles), **model.config.to_dict()}
    (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(folder / TOKENIZER)
    weights = {name: tensor.detach().to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    draft = folder / f".{WEIGHTS}"
    save_file(weights, draft, metadata={"format": "pt"})
    draft.replace(folder / WEIGHTS)


def load_med(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[MED, Tokenizer]:
    """Read a checkpoint into an evaluating MED of the dtype asked for.

    Raises:
        ModelError: a missing or unreadable file, or weights that are not those of the configuration.
    """
    config, _ = read_config(folder)
    try:
        tokenizer = Tokenizer.load(folder / TOKENIZER)
        weights = load_file(folder / WEIGHTS, device=device)
    except Exception as error:  # tokenizers and safetensors raise bare Exceptions
        raise ModelError(f"{folder}: {error}") from error
    with torch.device("meta"):
        model = MED(config)
    try:
        model.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{folder / WEIGHTS}: not the weights of {CONFIG}: {str(error).splitlines()[0]}") from error
    return model.eval(), tokenizer
