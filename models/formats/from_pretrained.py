"""`from_pretrained` of `transformers` as it is allowed here: files of a directory, safetensors, never their code."""

from pathlib import Path
from typing import Any

import torch
import transformers

from capfilt.core.errors import ModelError


def read_model(kind: str, folder: Path, device: str, dtype: torch.dtype) -> Any:
    """The model of a class of `transformers`, on its device, evaluating.

    Raises:
        ModelError: an unknown class, a missing file, missing weights or such of other shapes; one line.
    """
    model, loaded = _read(kind, folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    if missing := sorted(loaded["missing_keys"]):  # transformers would leave them random, and only warn
        raise ModelError(f"{folder}: {len(missing)} tensors are missing, {missing[0]} for one")
    return model.to(device).eval()


def read_words(kind: str, folder: Path) -> Any:
    """A tokenizer or a processor of `transformers`.

    Raises:
        ModelError: it is not there, or cannot be read; one line.
    """
    return _read(kind, folder)


def _read(kind: str, folder: Path, **settings: Any) -> Any:
    library: Any = transformers
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    try:
        return getattr(library, kind).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **settings
        )
    except Exception as error:  # transformers raises bare ones of many kinds
        raise ModelError(f"{folder}: {type(error).__name__}: {error}".splitlines()[0]) from error
