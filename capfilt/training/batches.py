"""From what was drawn to what a step learns from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from capfilt.models.training.batch import Batch, QuestionBatch, TalkBatch
    from capfilt.models.training.system import Reads
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.pixel_store import Pixels
    from capfilt.pipelines.training_data.sampler import Draw


class MakeBatch(Protocol):
    """From what was drawn, and the pixels of this worker's part, to a batch; `step` counts from 0."""

    def __call__(
        self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels", step: int
    ) -> "Batch | QuestionBatch | TalkBatch":
        """The batch, with the texts of all workers."""
        ...


def caption_batch(pairs: "TrainingPairs", draw: "Draw", images: "Pixels", step: int = 0) -> "Batch":
    """Images, a text of each, and texts marked as wrong."""
    import torch

    from capfilt.models.training.batch import Batch

    keys = pairs.keys[draw.pictures].tolist()
    return Batch(torch.from_numpy(images), pairs.texts_of(draw), pairs.wrong_of(draw), keys, step)


def region_batch(pairs: "TrainingPairs", draw: "Draw", images: "Pixels", step: int = 0) -> "Batch":
    """Images, a text of each, and the box that it is about."""
    import torch

    from capfilt.models.training.batch import Batch

    said, keys = pairs.texts_of(draw), pairs.keys[draw.pictures].tolist()
    boxes = [None if one["box"] is None else tuple(one["box"]) for one in said]
    return Batch(torch.from_numpy(images), [one["text"] for one in said], keys=keys, step=step, boxes=boxes)


def question_batch(pairs: "TrainingPairs", draw: "Draw", images: "Pixels", step: int = 0) -> "QuestionBatch":
    """Images, a question about each, and its answers."""
    import torch

    from capfilt.models.training.batch import QuestionBatch

    asked = pairs.texts_of(draw)
    answers = [weigh(item["answers"]) for item in asked]
    return QuestionBatch(torch.from_numpy(images), [item["question"] for item in asked], answers, step)


def talk_batch(pairs: "TrainingPairs", draw: "Draw", images: "Pixels", step: int = 0) -> "TalkBatch":
    """Images, and a talk about each."""
    import torch

    from capfilt.models.training.batch import TalkBatch

    talks = [[(turn["question"], weigh(turn["answers"])) for turn in talk] for talk in pairs.texts_of(draw)]
    return TalkBatch(torch.from_numpy(images), talks, step)


BATCHES: Final[Mapping["Reads", MakeBatch]] = {
    "captions": caption_batch,
    "regions": region_batch,
    "questions": question_batch,
    "talks": talk_batch,
    "images": caption_batch,  # with an empty text each
}
"""What a step learns from, by what its system reads."""


def weigh(answers: Sequence[str]) -> list[tuple[str, float]]:
    """Different answers, each with its share of all that were given."""
    return [(text, count / len(answers)) for text, count in Counter(answers).items()]
