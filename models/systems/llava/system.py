"""LLaVA: what its two stages are, and what they need."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from capfilt.core.errors import ConfigError
from capfilt.models.formats.checkpoint import CONFIG, weight_files
from capfilt.models.qformer.config import language_files
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.llava.tiles import LONGEST, most_tokens, patches
from capfilt.models.systems.parts.language_info import check_room, language_config, needs_both
from capfilt.models.systems.parts.shapes import check_side, started, stated
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, System

TUNED: Final = "llava-tune"
"""Stage 2: connector and language model learn from talks, which are questions and answers."""
NEXT: Final = "llava_next"
"""The `model_type` of a LLaVA that reads tiles."""
LANGUAGES: Final = frozenset(
    {"llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "olmo2", "phi", "phi3", "smollm3", "stablelm"}
)
"""Language models that fit the library's class, by the `model_type` of their config.json: it looks for their words'
embeddings where Llama has them, which OPT and GPT-2, for two, have elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Llava:
    """LLaVA: the connector between `model.vision` and `model.language`, and the texts."""

    connector: Literal["mlp", "linear"] = setting("mlp", "mlp = LLaVA 1.5, two layers; linear = LLaVA 1, one")
    tiles: bool = setting(False, "LLaVA-NeXT: an image is read whole and in up to four tiles, in its own shape")
    max_tokens: int = setting(64, "tokens of a caption or answer, with its end; longer ones are cut", ge=2)


def check(asked: Asked) -> Foundation:
    """A tower and a language model that fit, or for stage 2 a LLaVA; see `System.check`."""
    settings, tuned = asked.model, asked.system.name == TUNED
    if tuned and not settings.start:
        raise ConfigError(f"model.start: {TUNED} goes on from a stage 1, which `capfilt train llava` makes")
    own, tiles = asked.section(Llava), asked.section(Llava).tiles
    if settings.start:
        shape, folder = started(settings.start, ("llava", NEXT), "a LLaVA"), locate(settings.start)
        tiles = tiles or shape["model_type"] == NEXT
        vision, language = shape.get("vision_config", {}), shape.get("text_config", {})
        side, patch = (stated(vision, field, settings.start) for field in ("image_size", "patch_size"))
        files: tuple[Path, ...] = (folder / CONFIG, *weight_files(folder))
    else:
        needs_both(settings, "LLaVA")
        tower = tower_info(settings.vision)
        (folder, language), side, patch = (
            language_config(settings.language, LANGUAGES, "LLaVA"),
            tower.side,
            tower.patch,
        )
        files = (*tower.files, *language_files(folder))
    named = "model.start" if settings.start else "model.vision"
    check_side(settings, side, named, settings.start or settings.vision)
    taken = most_tokens(side, patch) if tiles else patches(side, patch)
    check_room(language, taken, "llava.max_tokens", own.max_tokens, f"an image takes {taken}")
    return Foundation(side * LONGEST if tiles else side, files, shape_kept=tiles)


LLAVA: Final = System(
    name="llava",
    about="connector from image tower to language model",
    package="llava",
    check=check,
    roles=("captioner",),
    example="--set model.vision=TOWER --set model.language=LM",
    sections={"llava": Llava},
    defaults={"optimizer": {"weight_decay": 0.0}, "schedule": {"warmup": 0.03}},
)
LLAVA_TUNE: Final = System(
    name=TUNED,
    about="LLaVA, stage 2: answers",
    package="llava",
    check=check,
    reads="talks",
    example="--start LLAVA",
    roles=("captioner",),
    sections={"llava": Llava},
    defaults={"optimizer": {"weight_decay": 0.0}, "schedule": {"warmup": 0.03, "rate": 2e-5}},
)
