"""Where an open_clip model comes from: its shape, its weights and the pixels it wants. Free of torch.

`open_clip:ARCHITECTURE:TAG` takes published weights (the two words are open_clip's own), `open_clip:ARCHITECTURE:FILE`
a safetensors file; a directory with `open_clip_config.json`, as open_clip saves it and the hub holds it, says it all.
"""

import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import weight_files
from capfilt.models.json_file import read_object
from capfilt.models.pixels import PixelSpec

CONFIG: Final = "open_clip_config.json"
PREFIX: Final = "open_clip:"

_MODES: Final = {"shortest": "crop", "squash": "squash"}  # open_clip's words for them, and ours
_SHAPE_KEYS: Final = {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "multimodal_cfg",
    "quick_gelu",
    "custom_text",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
}
_PARTS: Final = ("vision_cfg", "text_cfg", "multimodal_cfg")
# open_clip hands these to from_pretrained as they are, so a folder could set trust_remote_code and have its Python run.
_TOKENIZER_KWARGS: Final = {"clean", "strip_sep_token"}
"""Of `tokenizer_kwargs`, what changes text; everything else would pass to `from_pretrained`."""
_TOKENIZERS: Final = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model")
Fetch = Callable[[str], Path]

_TOWER: Final = re.compile(r"\w[\w.-]*")
"""A name of timm; `hf-hub:...` and `local-dir:...` would load another model."""


@dataclass(frozen=True, slots=True)
class OpenClipSource:
    """All that is needed to load one."""

    shape: dict[str, Any]  # what open_clip calls `model_cfg`, checked
    weights: Path
    pixels: PixelSpec
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tokenizer: Path | None  # a directory with a tokenizer of `transformers`; None = open_clip's own BPE
    text_tower: Path | None = None  # a directory with the configuration of a text tower of `transformers`


def from_folder(folder: Path, fetch_settings: Fetch | None = None) -> OpenClipSource:
    """A directory as open_clip saves it.

    Args:
        fetch_settings: for a directory that comes from the hub: gives the directory of the settings of another model
            there, which must be a text tower of one of open_clip's own architectures.

    Raises:
        ModelError: what is missing or not supported.
    """
    try:
        described = read_object(folder / CONFIG)
        shape, pixels = described["model_cfg"], described.get("preprocess_cfg") or {}
    except (OSError, KeyError) as error:
        raise ModelError(f"{folder}: no readable {CONFIG} ({error})") from error
    _check_shape(shape, folder / CONFIG, text_towers() if fetch_settings else frozenset())
    weights, *more = weight_files(folder)
    if more:
        raise ModelError(f"{folder}: weights in {len(more) + 1} files are not supported for a model of open_clip")
    return _source(weights, shape, pixels, folder, fetch_settings)


def from_name(name: str, fetch: Fetch, fetch_settings: Fetch) -> OpenClipSource:
    """`open_clip:ARCHITECTURE:TAG` or `open_clip:ARCHITECTURE:FILE`.

    Args:
        fetch: gives the directory of a name of the hub.
        fetch_settings: the same, without weights.

    Raises:
        ModelError: an architecture or a tag that open_clip does not know, or weights that are not there.
    """
    architecture, _, weights = name.removeprefix(PREFIX).partition(":")
    shape = architecture_shape(name, architecture)
    published = _published(architecture)
    file = Path(weights).expanduser()
    if file.suffix == ".safetensors" and file.is_file():
        # A file says nothing of its pixels: those of the architecture's first published weights.
        pixels = next(iter(published.values()), {})
        return _source(file, shape, pixels, file.parent, fetch_settings)
    pixels = published.get(weights.lower().replace("-", "_"), {})
    if not pixels:
        known = ", ".join(published) or "none"
        raise ModelError(f"model {name!r}: {weights!r} is neither a .safetensors file nor one of its tags: {known}")
    folder = fetch("/".join(pixels["hf_hub"].split("/")[:2]))
    if pixels.get("quick_gelu"):  # weights that were trained with it, whatever the architecture says
        shape = shape | {"quick_gelu": True}
    return _source(weight_files(folder)[0], shape, pixels, folder, fetch_settings)


def text_towers() -> frozenset[str]:
    """The models of the hub that open_clip's own architectures have as text towers."""
    shapes = (json.loads(path.read_text(encoding="utf-8")) for path in _architectures("text tower").glob("*.json"))
    return frozenset(name for shape in shapes if (name := shape["text_cfg"].get("hf_model_name")))


def _check_shape(shape: Any, file: Path, towers: frozenset[str]) -> None:
    """Make sure that a folder's `model_cfg` describes layers, and loads neither code nor another model.

    Args:
        towers: text towers that it may name.

    Raises:
        ModelError: a setting that is not supported; names it.
    """
    parts = [shape.get(part, {}) for part in _PARTS] if isinstance(shape, dict) else [shape]
    if not all(isinstance(part, dict) for part in parts):
        raise ModelError(f"{file}: model_cfg and its parts must be objects")
    if unknown := sorted(set(shape) - _SHAPE_KEYS):
        raise ModelError(f"{file}: model_cfg.{unknown[0]} is not supported")
    for part in parts:
        # open_clip would ask the hub for that model, with the user's token.
        if (tower := part.get("hf_model_name")) and tower not in towers:
            raise ModelError(f"{file}: hf_model_name = {tower!r}: a checkpoint may not load another")
        if more := sorted(set(part.get("tokenizer_kwargs") or {}) - _TOKENIZER_KWARGS):
            raise ModelError(f"{file}: tokenizer_kwargs.{more[0]} is not supported")
        if (tower := part.get("timm_model_name")) and not _TOWER.fullmatch(str(tower)):
            raise ModelError(f"{file}: timm_model_name = {tower!r}: a checkpoint may not load another")


def _source(
    weights: Path, shape: dict[str, Any], pixels: dict[str, Any], folder: Path, fetch_settings: Fetch | None
) -> OpenClipSource:
    size = shape["vision_cfg"].get("image_size", 224)
    mode, resample = pixels.get("resize_mode", "shortest"), pixels.get("interpolation", "bicubic")
    if not isinstance(size, int) or mode not in _MODES or resample not in ("bicubic", "bilinear"):
        raise ModelError(f"{weights}: pixels of size {size}, {mode}, {resample} are not supported")
    mean = tuple(pixels.get("mean", (0.48145466, 0.4578275, 0.40821073)))
    std = tuple(pixels.get("std", (0.26862954, 0.26130258, 0.27577711)))
    spec = PixelSpec(size, _MODES[mode], resample)  # type: ignore[arg-type]  # Literals, checked above
    tower = shape["text_cfg"].get("hf_model_name")
    text_tower = fetch_settings(tower) if tower and fetch_settings else None
    tokenizer = folder if shape["text_cfg"].get("hf_tokenizer_name") else None
    if tokenizer and text_tower and not any((folder / name).is_file() for name in _TOKENIZERS):
        tokenizer = text_tower
    return OpenClipSource(shape, weights, spec, mean, std, tokenizer, text_tower)


def architecture_shape(name: str, architecture: str) -> dict[str, Any]:
    folder = _architectures(f"model {name!r}")
    path = folder / f"{architecture}.json"
    if not path.is_file() or path.parent != folder:
        raise ModelError(f"model {name!r}: open_clip knows no architecture {architecture!r}; they look like ViT-L-14")
    shape: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return shape


def _architectures(what: str) -> Path:
    """open_clip's folder of architectures; `what` needs it."""
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"{what} needs the package open_clip_torch")
    return Path(found.submodule_search_locations[0]) / "model_configs"


def _published(architecture: str) -> dict[str, dict[str, Any]]:
    """open_clip's table of an architecture's weights, by tag; needs torch, so only names of this form pay for it."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    return {tag: open_clip.get_pretrained_cfg(architecture, tag) for tag in tags}
