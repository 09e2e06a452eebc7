"""From what was drawn to what a step learns from."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capfilt.models.training.batch import Batch, QuestionBatch
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.pixel_store import Pixels
    from capfilt.pipelines.training_data.sampler import Draw


def caption_batch(pairs: "TrainingPairs", draw: "Draw", images: "Pixels", step: int = 0) -> "Batch":
    """Images, a text of each, and texts marked as wrong."""
    import torch

    from capfilt.models.training.batch import Batch

    keys = pairs.keys[draw.pictures].tolist()
    return Batch(torch.from_numpy(images), pairs.texts_of(draw), pairs.wrong_of(draw), keys, step)


def question_batch(pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "QuestionBatch":
    """Images, a question about each, and its answers."""
    import torch

    from capfilt.models.training.batch import QuestionBatch

    asked = pairs.texts_of(draw)
    answers = [weigh(item["answers"]) for item in asked]
    return QuestionBatch(torch.from_numpy(images), [item["question"] for item in asked], answers)


def weigh(answers: Sequence[str]) -> list[tuple[str, float]]:
    """Different answers, each with its share of all that were given."""
    return [(text, count / len(answers)) for text, count in Counter(answers).items()]
