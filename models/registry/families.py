"""The families of models that ship: how a checkpoint of one is recognized, what it can do, and who loads it.

To add one, write its captioner or judge (`captioners/`, `judges/`: one class a file) and an entry in `FAMILIES`. Free
of torch: a class is named and imported when it is loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

from capfilt.core.errors import ModelError
from capfilt.models.formats import open_clip_source
from capfilt.models.formats.checkpoint import CONFIG, FORMAT, check_unquantized, describe, med_files, weight_files
from capfilt.models.formats.image_processor import read_image_processor, read_normalizing_processor, square_of
from capfilt.models.formats.model_info import ALPHA, DUAL, ModelInfo, Role
from capfilt.models.formats.open_clip_source import OpenClipSource
from capfilt.models.formats.timm_tower import check_timm
from capfilt.models.pixels import PixelSpec
from capfilt.models.qformer import config as qformer_config
from capfilt.models.refusal import refused_in_a_line
from capfilt.models.runtime import Placement
from capfilt.models.score_columns import COSINE, MATCHING

_SMALL: Final = (".json", ".txt", ".model", ".jinja")
# How the names of classes end that write text for an image.
_CAPTIONS: Final = (
    "ForConditionalGeneration",
    "ForImageTextToText",
    "ForVision2Seq",
    "ForVisionText2Text",
    "ForCausalLM",
    "VisionEncoderDecoderModel",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's directory as its config.json describes it."""

    name: str  # as a person wrote it
    folder: Path
    settings: dict[str, Any]  # of config.json; {} for a model of open_clip
    max_side: int  # pixels that models which take images of any shape are shown
    open_clip: OpenClipSource | None = None

    @property
    def architecture(self) -> str:
        """The class that `transformers` saved, "" where there is none."""
        return str((self.settings.get("architectures") or [""])[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """One family. `captioner` and `judge` are "MODULE:NAME" of what takes `ModelInfo`, digest and `Placement`."""

    name: str
    recognizes: Callable[[Checkpoint], bool]
    describe: Callable[[Checkpoint], ModelInfo]
    captioner: str = ""
    judge: str = ""


def family_of(checkpoint: Checkpoint) -> ModelFamily:
    """The first family that recognizes a checkpoint.

    Raises:
        ModelError: none does.
    """
    for family in FAMILIES:
        if family.recognizes(checkpoint):
            return family
    architecture = checkpoint.architecture or "model of an unnamed class"
    raise ModelError(f"model {checkpoint.name!r}: a {architecture} neither captions nor judges")


def load(info: ModelInfo, role: Role, digest: str, placement: Placement) -> object:
    """The captioner or judge of a model, which must have that role.

    Raises:
        ModelError: it cannot be loaded; one line.
    """
    (family,) = (family for family in FAMILIES if family.name == info.family)
    module, _, name = (family.captioner if role == "captioner" else family.judge).partition(":")
    with refused_in_a_line(info.name):
        return getattr(import_module(f"capfilt.models.{module}"), name)(info, digest, placement)


def _med(checkpoint: Checkpoint) -> ModelInfo:
    known = describe(checkpoint.folder)
    if known.config.tower:  # before a run is planned, not when its first chunk is captioned
        check_timm(known.config.tower, known.config.tower_digest, checkpoint.folder)
    return ModelInfo(
        name=checkpoint.name,
        family="med",
        folder=checkpoint.folder,
        roles=known.roles,
        pixels=PixelSpec(known.config.image_size, "squash"),
        files=tuple(med_files(checkpoint.folder)),
        columns=MATCHING if "filter" in known.roles else (),
        features=known.config.projection if "filter" in known.roles else 0,
    )


def _is_med(checkpoint: Checkpoint) -> bool:
    settings, kind = checkpoint.settings, checkpoint.settings.get("model_type")
    unnamed = kind is None and "architectures" not in settings
    return checkpoint.open_clip is None and (settings.get("format") == FORMAT or kind == "blip" or unnamed)


def _qformer(checkpoint: Checkpoint) -> ModelInfo:
    own = qformer_config.describe(checkpoint.folder)
    files = qformer_config.checkpoint_files(checkpoint.folder)
    return ModelInfo(
        name=checkpoint.name,
        family="qformer",
        folder=checkpoint.folder,
        roles=own.roles,
        pixels=own.pixels,
        files=files,
    )


def _open_clip(checkpoint: Checkpoint) -> ModelInfo:
    source = checkpoint.open_clip
    assert source is not None
    config = open_clip_source.CONFIG
    small = [path for path in _small_files(checkpoint.folder) if source.tokenizer or path.name == config]
    return ModelInfo(
        name=checkpoint.name,
        family="open_clip",
        folder=checkpoint.folder,
        roles=("filter",),
        pixels=source.pixels,
        files=(*small, *([source.text_tower / CONFIG] if source.text_tower else []), source.weights),
        columns=COSINE,
        features=int(source.shape.get("embed_dim", 0)),
        open_clip=source,
    )


def _is_dual(checkpoint: Checkpoint) -> bool:
    kind = checkpoint.settings.get("model_type")
    return kind in DUAL and checkpoint.architecture == DUAL[kind]


def _published_judge(family: str, columns: tuple[str, ...]) -> Callable[[Checkpoint], ModelInfo]:
    """A judge as `transformers` saves it."""

    def described(checkpoint: Checkpoint) -> ModelInfo:
        folder = checkpoint.folder
        check_unquantized(checkpoint.settings, folder)
        files = (*_small_files(folder), *weight_files(folder))
        pixels = square_of(read_normalizing_processor(folder))
        if pixels is None:
            raise ModelError(f"{folder}: an image processor that makes no plain square is not supported in a judge")
        return ModelInfo(
            name=checkpoint.name,
            family=family,
            folder=folder,
            roles=("filter",),
            pixels=pixels,
            files=files,
            columns=columns,
            features=_features(checkpoint.settings),
        )

    return described


def _features(settings: dict[str, Any]) -> int:
    """Numbers of the feature of one of the classes `model_info.DUAL`, where a key is left out the library's default."""
    kind = settings.get("model_type")
    if kind == "siglip":  # its head keeps the width of the tower
        return int(settings.get("vision_config", {}).get("hidden_size", 768))
    return int(settings.get("projection_dim", 512)) if kind in DUAL else 0


def _vlm(checkpoint: Checkpoint) -> ModelInfo:
    folder = checkpoint.folder
    files = (*_small_files(folder), *weight_files(folder))
    pixels = square_of(_processor(checkpoint)) or PixelSpec(checkpoint.max_side, "fit")
    return ModelInfo(
        name=checkpoint.name,
        family="vlm",
        folder=folder,
        roles=("captioner",),
        pixels=pixels,
        files=files,
        shots="rows" if checkpoint.settings.get("model_type") == "idefics" else _template(folder),
    )


def _processor(checkpoint: Checkpoint) -> dict[str, Any]:
    """`read_image_processor`, which a language model lacks: those and some that read images end in one word."""
    try:
        return read_image_processor(checkpoint.folder)
    except ModelError as error:
        if checkpoint.architecture.endswith("ForCausalLM"):
            said = f"{checkpoint.folder}: no image processor: {checkpoint.architecture} is a language model"
            raise ModelError(f"{said}, or its preprocessor_config.json is missing") from error
        raise


def _template(folder: Path) -> Literal["", "template"]:
    """Whether a model brings a chat template, by which images and texts can follow each other."""
    if any((folder / f"chat_template.{kind}").is_file() for kind in ("jinja", "json")):
        return "template"
    settings = (folder / "tokenizer_config.json", folder / "processor_config.json")
    return "template" if any(path.is_file() and b'"chat_template"' in path.read_bytes() for path in settings) else ""


def _small_files(folder: Path) -> list[Path]:
    """Configuration, words and templates: they change what a model says as its weights do."""
    return sorted(path for path in folder.rglob("*") if path.suffix in _SMALL and path.is_file())


FAMILIES: Final = (
    ModelFamily(
        name="open_clip",
        recognizes=lambda checkpoint: checkpoint.open_clip is not None,
        describe=_open_clip,
        judge="judges.open_clip:OpenClipJudge",
    ),
    ModelFamily(
        name="qformer",
        recognizes=lambda checkpoint: checkpoint.settings.get("format") == qformer_config.FORMAT,
        describe=_qformer,
        captioner="captioners.qformer:QFormerCaptioner",
    ),
    ModelFamily(
        name="med",
        recognizes=_is_med,
        describe=_med,
        captioner="captioners.med:load_captioner",
        judge="judges.med:load_judge",
    ),
    ModelFamily(
        name="alpha-clip",
        recognizes=lambda checkpoint: _is_dual(checkpoint) and ALPHA in checkpoint.settings,
        describe=_published_judge("alpha-clip", COSINE),
        judge="judges.alpha_clip:AlphaClipJudge",
    ),
    ModelFamily(
        name="dual",
        recognizes=_is_dual,
        describe=_published_judge("dual", COSINE),
        judge="judges.dual:DualJudge",
    ),
    ModelFamily(
        name="blip2",
        recognizes=lambda checkpoint: checkpoint.architecture == "Blip2ForImageTextRetrieval",
        describe=_published_judge("blip2", MATCHING),
        judge="judges.blip2:Blip2Judge",
    ),
    ModelFamily(
        name="vlm",  # last: whatever else of transformers writes text
        recognizes=lambda checkpoint: checkpoint.architecture.endswith(_CAPTIONS),
        describe=_vlm,
        captioner="captioners.vlm:VlmCaptioner",
    ),
)
"""In the order in which they are asked."""
