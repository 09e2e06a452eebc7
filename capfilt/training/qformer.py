"""`capfilt train qformer`: stage 1 on the tower of a MED, stage 2 on a stage 1 and a language model."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from capfilt.core.errors import ConfigError
from capfilt.training.batches import caption_batch
from capfilt.training.registry import Foundation, TrainJob
from capfilt.training.runtime import checkpoint_files, device, stored_dtype

if TYPE_CHECKING:
    from capfilt.models.training.batch import Batch
    from capfilt.models.training.group import Group
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.pixel_store import Pixels
    from capfilt.pipelines.training_data.sampler import Draw
    from capfilt.training.config import TrainRecipe


def check(recipe: "TrainRecipe") -> Foundation:
    """As `registry.SystemModule` says."""
    from capfilt.models.qformer.config import language_files

    device(recipe)
    check_stage(recipe)
    side = tower_side(recipe)
    language = language_files(Path(recipe.queries.language)) if recipe.queries.language else ()
    return Foundation(side, (*checkpoint_files(recipe), *language))


def build(
    recipe: "TrainRecipe", roles: tuple[str, ...], pairs: "TrainingPairs", epoch: int, group: "Group"
) -> TrainJob:
    """As `registry.SystemModule` says; with a language model it is stage 2."""
    return Stage2Job(recipe, group) if recipe.queries.language else Stage1Job(recipe, group)


class Stage1Job:
    """ITC, ITM and ITG on the frozen tower of a MED."""

    def __init__(self, recipe: "TrainRecipe", group: "Group") -> None:
        from capfilt.models.qformer.config import QFormerSpec
        from capfilt.models.qformer.start import bridge_on, config_for
        from capfilt.models.registry.resolve import locate
        from capfilt.models.training.init import load_for_training
        from capfilt.models.training.qformer_task import Stage1Task

        self.recipe = recipe
        med, self.tokenizer = load_for_training(locate(recipe.model.vision), tower_side(recipe))
        shape = config_for(med, **recipe.queries.model_dump(include={"queries", "width", "layers", "heads", "ffn"}))
        self.spec = QFormerSpec(qformer=shape, tower=med.config)
        self.bridge = bridge_on(med, shape).to(device(recipe))
        self.bridge.vision.to(device(recipe))
        asked = recipe.objectives
        weights, seed = (asked.itc, asked.itm, asked.lm), recipe.work.seed
        self.task = Stage1Task(self.bridge, self.tokenizer, weights, asked.max_tokens, seed, group)

    def batch(self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "Batch":
        """Images and a text of each."""
        return caption_batch(pairs, draw, images)

    def save(self, folder: Path) -> None:
        """A checkpoint that stage 2 starts from."""
        from capfilt.models.qformer.checkpoint import save

        save(folder, self.bridge, self.spec, self.tokenizer, dtype=stored_dtype(self.recipe))


class Stage2Job:
    """LM of a frozen language model behind the queries; the result captions."""

    def __init__(self, recipe: "TrainRecipe", group: "Group") -> None:
        import torch

        from capfilt.models.qformer import checkpoint
        from capfilt.models.qformer.language import LanguageModel
        from capfilt.models.qformer.start import freeze_text_side
        from capfilt.models.registry.resolve import locate
        from capfilt.models.training.qformer_task import Stage2Task

        self.recipe = recipe
        self.folder = Path(recipe.queries.language)
        bridge, spec, self.tokenizer = checkpoint.load(locate(recipe.model.start))
        dtype = torch.bfloat16 if recipe.model.bf16 else torch.float32
        language = LanguageModel.load(self.folder, device(recipe), dtype)
        if spec.language_width not in (0, language.width):
            raise ConfigError(f"queries.language: {self.folder} is {language.width} wide, not {spec.language_width}")
        prompt = recipe.objectives.prompt
        self.spec = replace(spec, language_width=language.width, prompt=prompt)
        if bridge.projection is None:
            bridge.projection = torch.nn.Linear(spec.qformer.width, language.width)
        freeze_text_side(bridge.qformer)
        self.bridge = bridge.to(device(recipe))
        self.bridge.vision.to(device(recipe))
        self.task = Stage2Task(self.bridge, language, prompt, recipe.objectives.max_tokens, group)

    def batch(self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "Batch":
        """Images and a caption of each."""
        return caption_batch(pairs, draw, images)

    def save(self, folder: Path) -> None:
        """A checkpoint that captions, the language model in it."""
        from capfilt.models.qformer.checkpoint import save

        save(folder, self.bridge, self.spec, self.tokenizer, self.folder, stored_dtype(self.recipe))


def check_stage(recipe: "TrainRecipe") -> None:
    """Make sure, before any work, that there is what a stage starts from.

    Raises:
        ConfigError: a setting that the stage needs is empty, or names nothing of use.
    """
    from capfilt.models.formats.checkpoint import CONFIG
    from capfilt.models.qformer.config import is_qformer
    from capfilt.models.registry.resolve import locate

    settings, language = recipe.model, recipe.queries.language
    if not language and not settings.vision:
        raise ConfigError(
            "model.vision: stage 1 of a Q-Former needs the checkpoint of a MED, whose image tower it reads"
        )
    if language and not (Path(language) / CONFIG).is_file():
        raise ConfigError(f"queries.language = {language!r}: not a directory with a {CONFIG}")
    if language and (not settings.start or not is_qformer(locate(settings.start))):
        raise ConfigError(f"model.start = {settings.start!r}: stage 2 of a Q-Former starts from a stage 1")


def tower_side(recipe: "TrainRecipe") -> int:
    """Pixels of a side that the image tower is shown."""
    from capfilt.models.formats.checkpoint import describe as describe_med
    from capfilt.models.qformer.config import describe
    from capfilt.models.registry.resolve import locate

    if recipe.queries.language:
        return describe(locate(recipe.model.start)).tower.image_size
    return recipe.model.image_size or describe_med(locate(recipe.model.vision)).config.image_size
