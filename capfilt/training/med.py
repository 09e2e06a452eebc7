"""`capfilt train med`, `captioner` and `filter`: a MED, from scratch or from a checkpoint."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from capfilt.core.errors import ConfigError
from capfilt.training.batches import caption_batch
from capfilt.training.registry import Foundation
from capfilt.training.runtime import checkpoint_files, device, stored_dtype, tune

if TYPE_CHECKING:
    from capfilt.models.med.model import MED
    from capfilt.models.tokenizer import Tokenizer
    from capfilt.models.training.batch import Batch
    from capfilt.models.training.group import Group
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.pixel_store import Pixels
    from capfilt.pipelines.training_data.sampler import Draw
    from capfilt.training.config import TrainRecipe


def check(recipe: "TrainRecipe") -> Foundation:
    """As `registry.SystemModule` says."""
    device(recipe)
    return Foundation(image_size(recipe), checkpoint_files(recipe))


def build(
    recipe: "TrainRecipe", roles: tuple[str, ...], pairs: "TrainingPairs", epoch: int, group: "Group"
) -> "MedJob":
    """As `registry.SystemModule` says."""
    return MedJob(recipe, roles, pairs, epoch, group)


class MedJob:
    """MED: pretraining, captioner and filter."""

    def __init__(
        self, recipe: "TrainRecipe", roles: tuple[str, ...], pairs: "TrainingPairs", epoch: int, group: "Group"
    ) -> None:
        from capfilt.models.training.med_task import MEDTask
        from capfilt.models.training.settings import Objectives

        self.recipe, self.roles = recipe, roles
        self.model, self.tokenizer = make_med(recipe, pairs, "filter" in roles)
        self.task = MEDTask(
            self.model.to(device(recipe)),
            self.tokenizer,
            Objectives(**recipe.objectives.model_dump()),
            recipe.work.seed,
            group,
            epoch,
        ).to(device(recipe))
        tune(self.model, recipe)

    def batch(self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "Batch":
        """Images, a text of each, and texts marked as wrong."""
        return caption_batch(pairs, draw, images, draw.step // self.recipe.schedule.accumulate)

    def save(self, folder: Path) -> None:
        """A checkpoint of a MED, for the roles it was trained for."""
        from capfilt.models.formats.weights import save_med

        save_med(folder, self.model, self.tokenizer, self.roles, stored_dtype(self.recipe))


def image_size(recipe: "TrainRecipe") -> int:
    """Pixels of a side of the MED that is trained.

    Raises:
        ConfigError: no such size.
        ModelError: no such checkpoint.
    """
    from capfilt.models.formats.checkpoint import describe
    from capfilt.models.med.config import SIZES
    from capfilt.models.registry.resolve import locate

    settings = recipe.model
    if not settings.start and settings.size not in SIZES:
        raise ConfigError(f"model.size = {settings.size!r} is not known; there are: {', '.join(SIZES)}")
    config = describe(locate(settings.start)).config if settings.start else SIZES[settings.size]
    side = settings.image_size or config.image_size
    if side % config.patch_size:
        raise ConfigError(f"model.image_size = {side} is not a multiple of the patches' {config.patch_size} pixels")
    return side


def make_med(recipe: "TrainRecipe", pairs: "TrainingPairs", judges: bool) -> "tuple[MED, Tokenizer]":
    """The MED a training starts from, and its tokenizer: of a checkpoint, or new with the words of the texts."""
    from capfilt.models.formats.checkpoint import describe
    from capfilt.models.med.config import SIZES
    from capfilt.models.med.model import MED
    from capfilt.models.registry.resolve import locate
    from capfilt.models.tokenizer import Tokenizer
    from capfilt.models.training.init import load_for_training, load_vision_tower

    settings, side = recipe.model, image_size(recipe)
    if settings.start:
        folder = locate(settings.start)
        model, tokenizer = load_for_training(folder, side)
        if judges and "filter" not in describe(folder).roles:
            model.text.start_encoder_from_decoder()
        return model, tokenizer
    tokenizer = Tokenizer.from_words(words(pairs))
    model = MED(replace(SIZES[settings.size], vocab_size=len(tokenizer), image_size=side))
    if settings.vision:
        load_vision_tower(model, locate(settings.vision))
    return model, tokenizer


def words(pairs: "TrainingPairs") -> "Iterator[str]":
    """All texts, right and wrong; of questions their answers too."""
    for text in pairs.words.to_pylist():
        yield from (text["question"], *text["answers"]) if isinstance(text, dict) else (text,)
    yield from pairs.wrong.to_pylist()
