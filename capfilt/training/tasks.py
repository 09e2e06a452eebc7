"""What each task of `capfilt train` trains: a model with its objectives, its batches, and the checkpoint it leaves."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from capfilt.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from capfilt.models.training.batch import Batch, QuestionBatch
    from capfilt.models.training.group import Group
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.pixel_store import Pixels
    from capfilt.pipelines.training_data.sampler import Draw
    from capfilt.training.config import TrainRecipe


class Job(Protocol):
    """A task with a model in it."""

    @property
    def task(self) -> "torch.nn.Module":
        """A `models.training.loop.Task`."""
        ...

    def batch(self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "Batch | QuestionBatch":
        """What the task takes: all texts of a draw, and the pixels of this worker's part."""
        ...

    def save(self, folder: Path) -> None:
        """Write the checkpoint as it is now."""
        ...


class MedJob:
    """MED: pretraining, captioner and filter."""

    def __init__(
        self, recipe: "TrainRecipe", roles: tuple[str, ...], pairs: "TrainingPairs", epoch: int, group: "Group"
    ) -> None:
        from capfilt.models.training.med_task import MEDTask, Objectives

        self.recipe, self.roles = recipe, roles
        self.model, self.tokenizer = make_med(recipe, pairs, "filter" in roles)
        settings = recipe.objectives.model_dump()
        self.task = MEDTask(
            self.model.to(device(recipe)),
            self.tokenizer,
            Objectives(**settings | {"ramp": round(recipe.objectives.ramp * epoch)}),
            recipe.work.seed,
            group,
        ).to(device(recipe))
        tune(self.model, recipe)

    def batch(self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "Batch":
        """Pictures, a text of each, and texts marked as wrong."""
        return plain_batch(pairs, draw, images, draw.step // self.recipe.schedule.accumulate)

    def save(self, folder: Path) -> None:
        """A checkpoint of a MED, for the roles it was trained for."""
        from capfilt.models.formats.weights import save_med

        save_med(folder, self.model, self.tokenizer, self.roles, stored(self.recipe))


class VqaJob:
    """Visual question answering."""

    def __init__(self, recipe: "TrainRecipe", pairs: "TrainingPairs", group: "Group") -> None:
        from capfilt.models.med.vqa import VQA
        from capfilt.models.training.vqa_task import VQATask

        self.recipe = recipe
        med, self.tokenizer = make_med(recipe, pairs, judges=True)
        self.model = VQA(med).to(device(recipe))
        self.task = VQATask(self.model, self.tokenizer, recipe.objectives.smoothing, group)
        tune(self.model, recipe, "med.vision")

    def batch(self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "QuestionBatch":
        """Pictures, a question about each, and its answers."""
        import torch

        from capfilt.models.training.batch import QuestionBatch

        asked = pairs.texts_of(draw)
        answers = [weigh(item["answers"]) for item in asked]
        return QuestionBatch(torch.from_numpy(images), [item["question"] for item in asked], answers)

    def save(self, folder: Path) -> None:
        """A checkpoint of VQA."""
        from capfilt.models.formats.vqa import save_vqa

        save_vqa(folder, self.model, self.tokenizer, stored(self.recipe))


def plain_batch(pairs: "TrainingPairs", draw: "Draw", images: "Pixels", step: int = 0) -> "Batch":
    """Pictures, a text of each, and texts marked as wrong."""
    import torch

    from capfilt.models.training.batch import Batch

    keys = pairs.keys[draw.pictures].tolist()
    return Batch(torch.from_numpy(images), pairs.texts_of(draw), pairs.wrong_of(draw), keys, step)


def stored(recipe: "TrainRecipe") -> "torch.dtype":
    """What weights are stored as."""
    import torch

    return torch.float16 if recipe.work.half else torch.float32


def weigh(answers: Sequence[str]) -> list[tuple[str, float]]:
    """Different answers, each with its share of all that were given."""
    return [(text, count / len(answers)) for text, count in Counter(answers).items()]


ROLES: Final = {"med": ("captioner", "filter"), "captioner": ("captioner",), "filter": ("filter",)}
"""What a checkpoint may be used for."""


def make_job(name: str, recipe: "TrainRecipe", pairs: "TrainingPairs", epoch: int, group: "Group") -> Job:
    """The job of a task; `epoch` is in steps."""
    from capfilt.training.qformer_tasks import Stage1Job, Stage2Job

    if name == "qformer":
        return Stage2Job(recipe, group) if recipe.queries.language else Stage1Job(recipe, group)
    return VqaJob(recipe, pairs, group) if name == "vqa" else MedJob(recipe, ROLES[name], pairs, epoch, group)


def check_job(name: str, recipe: "TrainRecipe") -> tuple[Path, ...]:
    """Make sure, before any work, that there is what a task needs; the files of the checkpoints it starts from.

    Raises:
        UserError: no such size, checkpoint or device.
    """
    from capfilt.models.qformer.config import language_files
    from capfilt.models.registry.resolve import locate, resolve
    from capfilt.training.qformer_tasks import check_qformer

    device(recipe)
    if name == "qformer":
        check_qformer(recipe)
    image_size(name, recipe)
    starts = [locate(start) for start in (recipe.model.start, recipe.model.vision) if start]
    read = [resolve(str(folder)).files for folder in starts]
    language = language_files(Path(recipe.queries.language)) if recipe.queries.language else ()
    return (*(path for files in read for path in files), *language)


def image_size(name: str, recipe: "TrainRecipe") -> int:
    """Pixels of a side of what is trained.

    Raises:
        ConfigError: no such size.
        ModelError: no such checkpoint.
    """
    if name == "qformer":
        from capfilt.training.qformer_tasks import tower_side

        return tower_side(recipe)
    return _med_side(recipe)


def _med_side(recipe: "TrainRecipe") -> int:
    from capfilt.models.formats.checkpoint import describe
    from capfilt.models.med.config import SIZES
    from capfilt.models.registry.registry import locate

    settings = recipe.model
    if not settings.start and settings.size not in SIZES:
        raise ConfigError(f"model.size = {settings.size!r} is not known; there are: {', '.join(SIZES)}")
    config = describe(locate(settings.start)).config if settings.start else SIZES[settings.size]
    side = settings.image_size or config.image_size
    if side % config.patch_size:
        raise ConfigError(f"model.image_size = {side} is not a multiple of the patches' {config.patch_size} pixels")
    return side


def make_med(recipe: "TrainRecipe", pairs: "TrainingPairs", judges: bool) -> "tuple[Any, Any]":
    """The MED a training starts from, and its tokenizer: of a checkpoint, or new with the words of the texts."""
    from capfilt.models.formats.checkpoint import describe
    from capfilt.models.med.config import SIZES
    from capfilt.models.med.model import MED
    from capfilt.models.registry.registry import locate
    from capfilt.models.tokenizer import Tokenizer
    from capfilt.models.training.init import load_for_training, load_vision_tower

    settings, side = recipe.model, _med_side(recipe)
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


def device(recipe: "TrainRecipe") -> str:
    """The torch device a training runs on.

    Raises:
        ConfigError: this machine has none such.
    """
    from capfilt.core.errors import ModelError
    from capfilt.models.registry.registry import Placement

    try:
        return Placement(device=recipe.model.device).resolve()[0]
    except ModelError as error:
        raise ConfigError(f"model.device = {recipe.model.device!r}: this machine has no such device") from error


def tune(model: "torch.nn.Module", recipe: "TrainRecipe", vision: str = "vision") -> None:
    """Checkpointing and compilation (of the module named `vision`), as the recipe wants them."""
    from capfilt.models.training.activation_checkpointing import checkpoint_layers

    if recipe.model.checkpointing:
        checkpoint_layers(model)
    if recipe.model.compile:
        model.get_submodule(vision).compile()
