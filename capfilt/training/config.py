"""Every setting of `capfilt train`: its name, type, default and meaning."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from capfilt.core.config import Section

Source = Literal["web", "synthetic", "human"]


class ModelSettings(Section):
    """What is trained."""

    size: str = Field("med-tiny", description="size of a new model: med-tiny, med-base, med-large")
    start: str = Field("", description="checkpoint to go on from; empty = a new model")
    vision: str = Field("", description="checkpoint whose image tower a new model starts with; empty = from scratch")
    image_size: int = Field(0, ge=0, description="pixels of a side; 0 = that of the size or checkpoint")
    device: str = Field("auto", description="torch device; auto = cuda, then mps, then cpu")
    bf16: bool = Field(False, description="forward in bfloat16; weights and optimizer stay float32")
    checkpointing: bool = Field(False, description="compute activations twice instead of keeping them: less memory")
    compile: bool = Field(False, description="torch.compile the image tower; pays on GPUs, in long runs")


class DataSettings(Section):
    """Which pictures and texts, and how they are drawn."""

    sources: tuple[Source, ...] = Field(("web", "synthetic", "human"), description="texts by source that are read")
    share: dict[str, float] = Field({}, description="share of a batch by source; empty = every picture alike")
    score: str = Field("", description="score of a caption, such as itm, that weighs it; empty = none")
    temperature: float = Field(
        0.0, ge=0, description="a picture's text is drawn by softmax(score / this); 0 = by chance"
    )
    marked: int = Field(0, ge=0, description="texts marked as wrong that go along with every picture")
    window: int = Field(0, ge=0, description="pictures shuffled together; 0 = all (needed where they fit no memory)")
    memory: int = Field(4_000_000_000, ge=0, description="bytes of pixels held in memory; more are decoded each time")

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
            raise ValueError(f"share names {left[0]}, which sources does not")
        return self


class ObjectiveSettings(Section):
    """What is learned. Weights of 0 leave an objective out."""

    itc: float = Field(0.0, ge=0, description="weight of image-text contrast")
    itm: float = Field(0.0, ge=0, description="weight of image-text matching, with hard negatives")
    lm: float = Field(0.0, ge=0, description="weight of language modeling")
    token_itm: float = Field(0.0, ge=0, description="weight of matching token by token; not in the paper")
    momentum: float = Field(0.0, ge=0, lt=1, description="of the momentum encoders; 0 = none")
    queue: int = Field(0, ge=0, description="pairs in the queue of momentum features; 0 = none")
    alpha: float = Field(0.0, ge=0, le=1, description="share of ITC targets that momentum encoders give away")
    ramp: float = Field(2.0, ge=0, description="epochs in which alpha rises from 0")
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing of LM")
    negatives: Literal["all", "worker"] = Field("all", description="workers whose pairs are hard negatives of ITM")
    prompt: str = Field("", description="words every text of LM starts from, given and not learned")
    max_tokens: int = Field(35, ge=3, description="tokens of a text, [CLS] and [SEP] among them")

    @model_validator(mode="after")
    def _fits(self) -> "ObjectiveSettings":
        if (self.queue or self.alpha) and not self.momentum:
            raise ValueError("queue and alpha need momentum")
        return self


class QuerySettings(Section):
    """A Q-Former; sizes of 0 are as the text side of the MED has them whose image tower it reads."""

    queries: int = Field(32, ge=1, description="learned queries")
    width: int = Field(0, ge=0, description="width of the Q-Former")
    layers: int = Field(0, ge=0, description="layers")
    heads: int = Field(0, ge=0, description="heads of attention")
    ffn: int = Field(0, ge=0, description="width of the feed-forward layers")
    language: str = Field("", description="directory of the frozen language model; empty = stage 1, which has none")


class OptimizerSettings(Section):
    """AdamW."""

    weight_decay: float = Field(0.05, ge=0, description="decay of the weights, times the learning rate")
    decayed: Literal["matrices", "all"] = Field("matrices", description="what decays; all = as BLIP's code has it")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: float = Field(0.98, ge=0, lt=1, description="decay of the mean of their squares")
    clip: float = Field(1.0, ge=0, description="largest norm of a gradient; 0 = not clipped")


class ScheduleSettings(Section):
    """How long and how fast."""

    steps: int = Field(1000, ge=0, description="training steps; 0 = as many as epochs have")
    epochs: float = Field(0.0, ge=0, description="times that about every picture is seen, where steps = 0")
    batch: int = Field(64, ge=2, description="pictures a batch, of all workers together")
    accumulate: int = Field(1, ge=1, description="batches a step; each contrasts its own pairs only")
    rate: float = Field(1e-3, ge=0, description="peak learning rate")
    warmup: float = Field(0.1, ge=0, description="share of the steps (below 1) or steps until the peak")
    warmup_from: float = Field(0.0, ge=0, le=1, description="where the rate starts, as a share of the peak")
    shape: Literal["cosine", "epochs"] = Field("cosine", description="how it falls: cosine, or by decay an epoch")
    decay: float = Field(0.85, gt=0, le=1, description="factor an epoch, where shape = epochs")
    min_ratio: float = Field(0.01, ge=0, le=1, description="where the rate ends, as a share of the peak")

    @model_validator(mode="after")
    def _ends(self) -> "ScheduleSettings":
        if not self.steps and not self.epochs:
            raise ValueError("steps or epochs must be over 0")
        return self


class WorkSettings(Section):
    """How it runs, and what it leaves."""

    seed: int = Field(0, ge=0, description="seed of weights, order and negatives")
    workers: int = Field(1, ge=1, description="processes that train together; more than 1 = through Ray Train")
    address: str = Field("local", description="Ray: local = started for the training; auto, HOST:PORT = joined")
    log_every: int = Field(50, ge=1, description="steps between two lines of the log")
    save_every: int = Field(500, ge=1, description="steps between two states that a killed training goes on from")
    half: bool = Field(False, description="store the weights as float16")


class TrainRecipe(Section):
    """All settings of a training."""

    name: str = Field("small", description="what the recipe is called")
    about: str = Field("", description="one line for people")
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
                f"schedule.batch = {self.schedule.batch} is no multiple of work.workers = {self.work.workers}"
            )
        return self
