"""Weights from the Hugging Face hub: its cache on this machine first, then the network; safetensors only."""

import re
from pathlib import Path
from typing import Final

from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import CONFIG, weight_files
from capfilt.models.formats.open_clip_source import CONFIG as OPEN_CLIP_CONFIG

HUB_NAME: Final = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
"""`owner/model`, perhaps with `@revision`: a branch, a tag or a commit."""

# Everything but weights, and no code.
_SMALL: Final = ("*.json", "*.txt", "*.model", "*.jinja")
_NEEDED: Final = (
    ("config.json",),
    ("tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model"),
    ("preprocessor_config.json", "processor_config.json"),
)
"""Of each group one file, or the cache holds a part of the model only, which somebody else needed."""


def fetch(name: str) -> Path:
    """The directory of a model of the hub. What is in the cache is used as it is, without asking the network.

    Raises:
        ModelError: it is in no cache here and cannot be fetched, or has no safetensors; one line.
    """
    matched = HUB_NAME.fullmatch(name)
    if not matched:
        raise ModelError(f"model {name!r} is not a name on the hub: expected owner/model or owner/model@revision")
    # Cache first, and the network not at all where it has the model: nodes without a network run, and a new commit on
    # the hub does not change a run between two starts.
    cached = _cached(matched["repo"], matched["revision"])
    return cached or _download(name, matched["repo"], matched["revision"])


def fetch_settings(name: str) -> Path:
    """The directory of the settings and the tokenizer of a model of the hub, without its weights.

    Args:
        name: owner/model, or the one word that the hub's oldest models have.

    Raises:
        ModelError: they are in no cache here and cannot be fetched; one line.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
        if (folder / CONFIG).is_file():
            return folder
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=list(_SMALL)))
    except Exception as error:  # as in `_download`
        raise _absent(name, name, error) from error


def _cached(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True))
        weight_files(folder)
    except (LocalEntryNotFoundError, ModelError):  # nothing, or a part of it
        return None
    whole = all(any((folder / name).is_file() for name in names) for names in _NEEDED)
    return folder if whole or (folder / OPEN_CLIP_CONFIG).is_file() else None


def _download(name: str, repo: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=list(_SMALL)))
        # Some repositories hold the same weights twice, for open_clip and for transformers.
        weights = "open_clip_*.safetensors" if (folder / OPEN_CLIP_CONFIG).is_file() else "model*.safetensors"
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=[*_SMALL, weights]))
    except Exception as error:  # the hub's own errors, the network's and those of the file system
        raise _absent(name, repo, error) from error
    weight_files(folder)
    return folder


def _absent(name: str, repo: str, error: Exception) -> ModelError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return ModelError(
        f"model {name!r} is not in the local hub cache and could not be downloaded ({reason}); "
        f"where there is a network, `hf download {repo}`, and name the directory"
    )
