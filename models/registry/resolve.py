"""From the name of a model to what can be known of it without torch: where it is, its role, the pixels it wants.

| name | what it is |
|---|---|
| `demo-captioner` | a checkpoint that ships |
| a directory | a MED or Q-Former of ours, or a model as `transformers` or open_clip saves it |
| `open_clip:ARCHITECTURE:TAG` or `:FILE` | an open_clip model by open_clip's own names, or with weights of a file |
| `owner/model`, `owner/model@revision` | a model of the hub |
"""

import json
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError
from capfilt.models.formats import hub, open_clip_source
from capfilt.models.formats.checkpoint import ADAPTER, CONFIG, FORMAT, PICKLED, describe, med_files, weight_files
from capfilt.models.formats.image_processor import read_image_processor, square_of
from capfilt.models.formats.model_info import Family, ModelInfo
from capfilt.models.formats.open_clip_source import OpenClipSource
from capfilt.models.pixels import PixelSpec
from capfilt.models.qformer import config as qformer_config
from capfilt.models.registry.catalog import CATALOG

CHECKPOINTS: Final = Path(__file__).parent.parent / "checkpoints"

_DUAL: Final = ("clip", "siglip")
_CAPTIONS: Final = (
    "ForConditionalGeneration",
    "ForImageTextToText",
    "ForVision2Seq",
    "ForVisionText2Text",
    "ForCausalLM",
    "VisionEncoderDecoderModel",
)
_SMALL: Final = (".json", ".txt", ".model", ".jinja")


def resolve(name: str, max_side: int = 768) -> ModelInfo:
    """What is known of a model.

    Args:
        max_side: pixels of the longer side that models which take images of any shape are shown.

    Raises:
        ModelError: no such model, or one of no use here; one line.
    """
    if name.startswith(open_clip_source.PREFIX):
        return _open_clip(name, open_clip_source.from_name(name, hub.fetch))
    folder = locate(name)
    if (folder / open_clip_source.CONFIG).is_file():
        return _open_clip(name, open_clip_source.from_folder(folder))
    settings = _settings(folder)
    kind = settings.get("model_type")
    if settings.get("format") == qformer_config.FORMAT:
        return _qformer(name, folder)
    if settings.get("format") == FORMAT or kind == "blip" or (kind is None and "architectures" not in settings):
        return _med(name, folder)
    return _of_transformers(name, folder, settings, max_side)


def locate(name: str) -> Path:
    """The directory of a model; of one of the hub after it was fetched.

    Raises:
        ModelError: there is none.
    """
    # A name that ships goes before a folder of the same name, so that a run means the same everywhere.
    if name in CATALOG and CATALOG[name].ships:
        return CHECKPOINTS / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / config).is_file() for config in (CONFIG, open_clip_source.CONFIG)):
            raise ModelError(f"model {name!r}: {_kind_of(folder)}")
        return folder
    if folder.is_file():
        raise ModelError(f"model {name!r}: {_kind_of(folder)}")
    if hub.HUB_NAME.fullmatch(name):
        return hub.fetch(name)
    raise ModelError(f"model {name!r} is neither a directory nor a name listed by `capfilt models`")


def _med(name: str, folder: Path) -> ModelInfo:
    known = describe(folder)
    files = tuple(med_files(folder))
    pixels = PixelSpec(known.config.image_size, "squash")
    return ModelInfo(name=name, family="med", folder=folder, roles=known.roles, pixels=pixels, files=files)


def _qformer(name: str, folder: Path) -> ModelInfo:
    own = qformer_config.describe(folder)
    files = qformer_config.checkpoint_files(folder)
    return ModelInfo(name=name, family="qformer", folder=folder, roles=own.roles, pixels=own.pixels, files=files)


def _open_clip(name: str, source: OpenClipSource) -> ModelInfo:
    folder = source.weights.parent
    small = [path for path in _small_files(folder) if source.tokenizer or path.name == open_clip_source.CONFIG]
    return ModelInfo(
        name=name,
        family="open_clip",
        folder=folder,
        roles=("filter",),
        pixels=source.pixels,
        files=(*small, source.weights),
        open_clip=source,
    )


def _of_transformers(name: str, folder: Path, settings: dict[str, Any], max_side: int) -> ModelInfo:
    files = (*_small_files(folder), *weight_files(folder))
    architecture = (settings.get("architectures") or ["model of an unnamed class"])[0]
    if architecture == "Blip2ForImageTextRetrieval" or _is_dual(settings, architecture):
        family: Family = "dual" if _is_dual(settings, architecture) else "blip2"
        pixels = square_of(read_image_processor(folder))
        if pixels is None:
            raise ModelError(f"{folder}: an image processor that makes no plain square is not supported in a judge")
        return ModelInfo(name=name, family=family, folder=folder, roles=("filter",), pixels=pixels, files=files)
    if not architecture.endswith(_CAPTIONS):
        raise ModelError(f"model {name!r}: a {architecture} neither captions nor judges")
    pixels = square_of(read_image_processor(folder)) or PixelSpec(max_side, "fit")
    return ModelInfo(name=name, family="vlm", folder=folder, roles=("captioner",), pixels=pixels, files=files)


def _is_dual(settings: dict[str, Any], architecture: str) -> bool:
    return settings.get("model_type") in _DUAL and architecture in ("CLIPModel", "SiglipModel")


def _small_files(folder: Path) -> list[Path]:
    """Configuration, words and templates: they change what a model says as its weights do."""
    return sorted(path for path in folder.rglob("*") if path.suffix in _SMALL and path.is_file())


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no readable {CONFIG} ({error})") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{folder / CONFIG}: no JSON object")
    return settings


def _kind_of(path: Path) -> str:
    """What a path is that is no model as it is, and the command that makes one of it."""
    command = f"`capfilt convert {path} --to DIR`"
    if path.is_file():
        if path.suffix in PICKLED:
            return f"a file of pickled weights, as trainings of BLIP, LAVIS and open_clip leave them; {command}"
        return "a file, where a directory is expected" + (f"; {command}" if path.suffix == ".safetensors" else "")
    if (path / ADAPTER).is_file():
        return f"a LoRA adapter, which is no model of its own; {command} merges it"
    pickled = sorted(file for file in path.iterdir() if file.suffix in PICKLED)
    if pickled:
        return f"a directory of pickled weights without a {CONFIG}; `capfilt convert {pickled[-1]} --to DIR`"
    return f"a directory without a {CONFIG}"
