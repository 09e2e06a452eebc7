"""A MED that reads questions and its answer decoder, in training."""

from collections.abc import Iterable

from capfilt.models.formats.vqa import save_vqa
from capfilt.models.med.vqa import VQA
from capfilt.models.systems.med.dropout import set_dropout
from capfilt.models.systems.med.start import start_med
from capfilt.models.systems.vqa.task import VQATask
from capfilt.models.tokenizer import clean_answer
from capfilt.models.training.activation_checkpointing import tune
from capfilt.models.training.group import Group
from capfilt.models.training.settings import Dropout, Objectives
from capfilt.models.training.system import Asked, TrainJob


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`."""
    start, tokenizer = start_med(asked.model, texts, judges=True, clean=clean_answer)
    model = VQA(start).to(asked.device)
    set_dropout(model, asked.section(Dropout))
    task = VQATask(model, tokenizer, asked.section(Objectives).smoothing, group)
    tune(model, asked.model, "med.vision")
    return TrainJob(task, lambda folder: save_vqa(folder, model, tokenizer, asked.stored_dtype))
