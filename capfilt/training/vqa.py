"""`capfilt train vqa`: visual question answering on a MED."""

from pathlib import Path
from typing import TYPE_CHECKING

from capfilt.training import med
from capfilt.training.batches import question_batch
from capfilt.training.runtime import device, stored_dtype, tune

if TYPE_CHECKING:
    from capfilt.models.training.batch import QuestionBatch
    from capfilt.models.training.group import Group
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.pixel_store import Pixels
    from capfilt.pipelines.training_data.sampler import Draw
    from capfilt.training.config import TrainRecipe

check = med.check
"""It starts from what a MED starts from."""


def build(
    recipe: "TrainRecipe", roles: tuple[str, ...], pairs: "TrainingPairs", epoch: int, group: "Group"
) -> "VqaJob":
    """As `registry.SystemModule` says."""
    return VqaJob(recipe, pairs, group)


class VqaJob:
    """A MED that reads questions, and its answer decoder."""

    def __init__(self, recipe: "TrainRecipe", pairs: "TrainingPairs", group: "Group") -> None:
        from capfilt.models.med.vqa import VQA
        from capfilt.models.training.vqa_task import VQATask

        self.recipe = recipe
        start, self.tokenizer = med.make_med(recipe, pairs, judges=True)
        self.model = VQA(start).to(device(recipe))
        self.task = VQATask(self.model, self.tokenizer, recipe.objectives.smoothing, group)
        tune(self.model, recipe, "med.vision")

    def batch(self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "QuestionBatch":
        """Images, a question about each, and its answers."""
        return question_batch(pairs, draw, images)

    def save(self, folder: Path) -> None:
        """A checkpoint of VQA."""
        from capfilt.models.formats.vqa import save_vqa

        save_vqa(folder, self.model, self.tokenizer, stored_dtype(self.recipe))
