"""A MED in training, from scratch or from a checkpoint."""

from collections.abc import Iterable

from capfilt.models.formats.weights import save_med
from capfilt.models.systems.med.dropout import set_dropout
from capfilt.models.systems.med.start import start_med
from capfilt.models.systems.med.task import MEDTask
from capfilt.models.training.activation_checkpointing import tune
from capfilt.models.training.group import Group
from capfilt.models.training.settings import Dropout, Objectives
from capfilt.models.training.system import Asked, TrainJob


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`."""
    roles = asked.system.roles
    model, tokenizer = start_med(asked.model, texts, judges="filter" in roles)
    model.to(asked.device)
    # Before the task copies the model: BLIP's momentum encoders drop out too.
    set_dropout(model, asked.section(Dropout))
    wanted = asked.section(Objectives)
    task = MEDTask(model, tokenizer, wanted, asked.seed, group, asked.epoch).to(asked.device)
    tune(model, asked.model)
    prompt = wanted.prompt if wanted.lm else ""
    return TrainJob(task, lambda folder: save_med(folder, model, tokenizer, roles, asked.stored_dtype, prompt))
