"""Every setting of `capfilt train`: its name, type, default and meaning."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from capfilt.core.config import Section
from capfilt.models.training.settings import AdamW, Objectives, Schedule

_OBJECTIVES, _ADAMW, _SCHEDULE = Objectives(), AdamW(), Schedule(steps=0)

Source = Literal["web", "synthetic", "human"]


class ModelSettings(Section):
    """The model to train."""

    size: str = Field("med-tiny", description="size of a new model: med-tiny, med-base, med-large")
    start: str = Field("", description="checkpoint to start from; empty = a new model")
    vision: str = Field("", description="checkpoint whose image encoder a new model starts from; empty = from scratch")
    image_size: int = Field(0, ge=0, description="pixels per side; 0 = that of the size or checkpoint")
    device: str = Field("auto", description="torch device; auto = cuda, then mps, then cpu")
    bf16: bool = Field(False, description="compute in bfloat16; weights and optimizer state stay float32")
    checkpointing: bool = Field(False, description="recompute activations in the backward pass: less memory, more time")
    compile: bool = Field(False, description="torch.compile the image encoder; pays off on GPUs in long runs")


class DataSettings(Section):
    """Which images and texts to train on, and how they are sampled."""

    sources: tuple[Source, ...] = Field(("web", "synthetic", "human"), description="sources of the texts to train on")
    share: dict[str, float] = Field(
        {}, description="share of each source in a batch; empty = every image is equally likely"
    )
    score: str = Field("", description="caption score that weights the choice of a text, e.g. itm; empty = none")
    temperature: float = Field(
        0.0, ge=0, description="choose an image's text by softmax(score / temperature); 0 = uniformly"
    )
    marked: int = Field(0, ge=0, description="texts marked as wrong to add per image, as ITM negatives")
    window: int = Field(0, ge=0, description="images per shuffle window; 0 = shuffle all at once")
    memory: int = Field(
        4_000_000_000, ge=0, description="bytes of decoded images kept in memory; the rest is decoded every time"
    )

    @field_validator("share")
    @classmethod
    def _is_a_share(cls, value: dict[str, float]) -> dict[str, float]:
        if value and (min(value.values()) < 0 or not sum(value.values())):
            raise ValueError("shares must not be negative, nor all 0")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "DataSettings":
        if self.temperature and not self.score:
            raise ValueError("temperature needs score")
        if left := sorted(set(self.share) - set(self.sources)):
            raise ValueError(f"share names {left[0]}, which is not in sources")
        return self


class ObjectiveSettings(Section):
    """Training objectives. A weight of 0 turns one off."""

    itc: float = Field(_OBJECTIVES.itc, ge=0, description="weight of image-text contrastive loss; 0 = off")
    itm: float = Field(
        _OBJECTIVES.itm, ge=0, description="weight of image-text matching loss, with hard negatives; 0 = off"
    )
    lm: float = Field(_OBJECTIVES.lm, ge=0, description="weight of language modeling loss; 0 = off")
    token_itm: float = Field(
        _OBJECTIVES.token_itm, ge=0, description="weight of token-level matching loss, not in the paper; 0 = off"
    )
    momentum: float = Field(_OBJECTIVES.momentum, ge=0, lt=1, description="momentum of the momentum encoders; 0 = none")
    queue: int = Field(_OBJECTIVES.queue, ge=0, description="pairs in the queue of momentum features; 0 = no queue")
    alpha: float = Field(
        _OBJECTIVES.alpha, ge=0, le=1, description="weight of the momentum encoders' soft targets in ITC"
    )
    ramp: float = Field(_OBJECTIVES.ramp, ge=0, description="epochs over which alpha rises from 0")
    smoothing: float = Field(_OBJECTIVES.smoothing, ge=0, lt=1, description="label smoothing of LM")
    negatives: Literal["all", "worker"] = Field(
        _OBJECTIVES.negatives, description="ITM hard negatives: from all workers, or the worker's own"
    )
    prompt: str = Field(_OBJECTIVES.prompt, description="prefix of every LM text, not learned")
    max_tokens: int = Field(_OBJECTIVES.max_tokens, ge=3, description="maximum tokens per text, with [CLS] and [SEP]")

    @model_validator(mode="after")
    def _fits(self) -> "ObjectiveSettings":
        if (self.queue or self.alpha) and not self.momentum:
            raise ValueError("queue and alpha need momentum")
        return self


class QuerySettings(Section):
    """Q-Former. A size of 0 is that of the text encoder of the MED whose image encoder it reads."""

    queries: int = Field(32, ge=1, description="learned queries")
    width: int = Field(0, ge=0, description="hidden size; 0 = that of the MED's text encoder")
    layers: int = Field(0, ge=0, description="layers; 0 = those of the MED's text encoder")
    heads: int = Field(0, ge=0, description="attention heads; 0 = those of the MED's text encoder")
    ffn: int = Field(0, ge=0, description="size of the feed-forward layers; 0 = that of the MED's text encoder")
    language: str = Field("", description="directory of the frozen language model; empty = stage 1, without one")


class OptimizerSettings(Section):
    """AdamW."""

    weight_decay: float = Field(_ADAMW.weight_decay, ge=0, description="weight decay, multiplied by the learning rate")
    decayed: Literal["matrices", "all"] = Field(
        _ADAMW.decayed, description="parameters that decay; all = as in BLIP's code"
    )
    beta1: float = Field(_ADAMW.beta1, ge=0, lt=1, description="decay rate of the mean of gradients")
    beta2: float = Field(_ADAMW.beta2, ge=0, lt=1, description="decay rate of the mean of squared gradients")
    clip: float = Field(1.0, ge=0, description="maximum gradient norm; 0 = no clipping")


class ScheduleSettings(Section):
    """Length of the training, batch size and learning rate."""

    steps: int = Field(1000, ge=0, description="training steps; 0 = use epochs")
    epochs: float = Field(0.0, ge=0, description="passes over the images, if steps = 0")
    batch: int = Field(64, ge=2, description="images per batch, over all workers")
    accumulate: int = Field(1, ge=1, description="batches per step; ITC contrasts within one batch")
    rate: float = Field(_SCHEDULE.rate, ge=0, description="peak learning rate")
    warmup: float = Field(_SCHEDULE.warmup, ge=0, description="warm-up steps; below 1 = share of all steps")
    warmup_from: float = Field(
        _SCHEDULE.warmup_from, ge=0, le=1, description="learning rate at the start, as a share of the peak"
    )
    shape: Literal["cosine", "epochs"] = Field(_SCHEDULE.shape, description="decay: cosine, or a factor per epoch")
    decay: float = Field(_SCHEDULE.decay, gt=0, le=1, description="factor per epoch, if shape = epochs")
    min_ratio: float = Field(
        _SCHEDULE.min_ratio, ge=0, le=1, description="learning rate at the end, as a share of the peak"
    )

    @model_validator(mode="after")
    def _ends(self) -> "ScheduleSettings":
        if not self.steps and not self.epochs:
            raise ValueError("steps or epochs must be over 0")
        return self


class WorkSettings(Section):
    """Seed, processes, logs and checkpoints."""

    seed: int = Field(0, ge=0, description="seed of weights, data order and negatives")
    workers: int = Field(1, ge=1, description="training processes; more than 1 = run by Ray Train")
    address: str = Field(
        "local", description="Ray: local = start one for the training; auto, HOST:PORT = join a cluster"
    )
    log_every: int = Field(50, ge=1, description="steps between log lines")
    save_every: int = Field(500, ge=1, description="steps between states to resume from")
    half: bool = Field(False, description="store the weights as float16")


class TrainRecipe(Section):
    """All settings of a training."""

    name: str = Field("small", description="name of the recipe")
    about: str = Field("", description="one-line description")
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    objectives: ObjectiveSettings = ObjectiveSettings()
    queries: QuerySettings = QuerySettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    work: WorkSettings = WorkSettings()

    @model_validator(mode="after")
    def _fits(self) -> "TrainRecipe":
        if self.schedule.batch % self.work.workers:
            raise ValueError(
                f"schedule.batch = {self.schedule.batch} is not a multiple of work.workers = {self.work.workers}"
            )
        return self
