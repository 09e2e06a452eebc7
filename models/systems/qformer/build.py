"""A Q-Former in training: stage 1 on the tower of a MED, stage 2 on a stage 1 and a language model."""

from collections.abc import Iterable
from dataclasses import asdict, replace

import torch

from capfilt.core.errors import ConfigError
from capfilt.models.qformer import checkpoint
from capfilt.models.qformer.config import QFormerSpec
from capfilt.models.qformer.language import LanguageModel
from capfilt.models.qformer.start import bridge_on, config_for, freeze_text_side, skip_last_layers
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.med.start import load_for_training
from capfilt.models.systems.qformer.system import Queries, tower_side
from capfilt.models.systems.qformer.task import Stage1Task, Stage2Task
from capfilt.models.training.checks import check_vocabulary
from capfilt.models.training.group import Group
from capfilt.models.training.settings import Objectives
from capfilt.models.training.system import Asked, TrainJob


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`; with a language model it is stage 2."""
    return _stage_2(asked, group) if asked.model.language else _stage_1(asked, texts, group)


def _stage_1(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """ITC, ITM and ITG on the frozen tower of a MED; the checkpoint is what stage 2 starts from."""
    med, tokenizer = load_for_training(locate(asked.model.vision), tower_side(asked.model))
    check_vocabulary(tokenizer, texts, asked.model.max_unknown)
    sizes = asdict(asked.section(Queries))
    skip_last_layers(med, sizes.pop("skip_layers"))
    shape = config_for(med, **sizes)
    spec = QFormerSpec(qformer=shape, tower=med.config)
    bridge = bridge_on(med, shape).to(asked.device)
    bridge.vision.to(asked.device)
    wanted = asked.section(Objectives)
    weights = (wanted.itc, wanted.itm, wanted.lm)
    task = Stage1Task(bridge, tokenizer, weights, wanted.max_tokens, asked.seed, group)
    return TrainJob(task, lambda folder: checkpoint.save(folder, bridge, spec, tokenizer, dtype=asked.stored_dtype))


def _stage_2(asked: Asked, group: Group) -> TrainJob:
    """LM of a frozen language model behind the queries; the checkpoint captions, the language model in it."""
    folder, wanted = locate(asked.model.language), asked.section(Objectives)
    bridge, spec, tokenizer = checkpoint.load(locate(asked.model.start))
    language = LanguageModel.load(folder, asked.device, torch.bfloat16 if asked.model.bf16 else torch.float32, True)
    if spec.language_width not in (0, language.width):
        raise ConfigError(f"model.language: {folder} is {language.width} wide, not {spec.language_width}")
    spec = replace(spec, language_width=language.width, prompt=wanted.prompt, begins=True)
    if bridge.projection is None:
        bridge.projection = torch.nn.Linear(spec.qformer.width, language.width)
    freeze_text_side(bridge.qformer)
    bridge.to(asked.device)
    bridge.vision.to(asked.device)
    task = Stage2Task(bridge, language, wanted.prompt, wanted.max_tokens, asked.seed, group)
    return TrainJob(task, lambda out: checkpoint.save(out, bridge, spec, tokenizer, folder, asked.stored_dtype))
