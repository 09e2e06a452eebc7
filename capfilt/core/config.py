"""Every setting of a run: its name, type, default and meaning; values are checked before any work starts."""

import codecs
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from capfilt.core.clients.endpoint import Endpoint
from capfilt.core.secrets import is_secret_name

_ENDPOINT: Final = Endpoint()

Script = Literal[
    "Arabic", "Cyrillic", "Devanagari", "Greek", "Han", "Hangul", "Hebrew", "Hiragana", "Katakana", "Latin", "Thai"
]
"""Writing systems that texts can be asked to be in, by their Unicode names."""


class Section(BaseModel):
    """A part of a recipe: frozen, unknown keys refused, defaults stated."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InputSettings(Section):
    """How rows are read and cut into chunks."""

    url: str = Field("auto", description="column with the URL (or the file path); auto = guessed from the usual names")
    text: str | tuple[str, ...] = Field(
        "auto", description="column with the text, a pattern (caption_*) or a list; auto = guessed, none = no text"
    )
    encoding: str = Field("auto", description="encoding of text files (cp1252, gbk, ...); auto = told by their bytes")
    delimiter: str = Field("auto", description="what separates the columns of a text table; auto = told by its rows")
    quote: str = Field("auto", description='quote character of a text table; auto = ", none = quotes mean nothing')
    header: Literal["auto", "yes", "no"] = Field("auto", description="whether a text table names its columns first")
    merge: Literal["auto", "always", "never"] = Field(
        "auto", description="rows of one image become one row; auto = except by URLs and bytes in Parquet, Arrow, ORC"
    )
    chunk_rows: int = Field(256, ge=1, le=10_000, description="rows per chunk (the unit of commit and resume)")
    chunk_bytes: int = Field(64_000_000, ge=1_000_000, description="approximate bytes of image data per chunk")
    memory: int = Field(
        2_000_000_000,
        ge=0,
        description="bytes of memory of the process that reads lists, tables and documents; 0 = no process, no limit",
    )

    @field_validator("text")
    @classmethod
    def _names_columns(cls, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not names or (isinstance(names, tuple) and {"auto", "none"} & set(names)):
            raise ValueError("must name columns; auto and none stand alone")
        return names

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, name: str) -> str:
        if name == "auto":
            return name
        try:
            "".encode(name)
        except LookupError as error:
            raise ValueError("is not an encoding that Python supports") from error
        return "utf-8" if codecs.lookup(name).name in ("utf-8", "utf-8-sig") else name

    @field_validator("delimiter", "quote")
    @classmethod
    def _is_one_character(cls, mark: str, info: ValidationInfo) -> str:
        named = ("auto", "none") if info.field_name == "quote" else ("auto",)
        mark = {"tab": "\t", "\\t": "\t", "comma": ","}.get(mark, mark)
        if mark not in named and (len(mark) != 1 or not mark.isascii() or mark in "\r\n"):
            raise ValueError(f"must be one ASCII character{' or none' if len(named) > 1 else ''}")
        return mark


class FetchSettings(Section):
    """How URLs are downloaded."""

    concurrency: int = Field(32, ge=1, le=1024, description="concurrent connections per worker")
    per_host: int = Field(8, ge=1, description="concurrent connections per worker to one host")
    per_host_rate: float = Field(20.0, ge=0, description="requests per second and worker to one host; 0 = no limit")
    give_up: int = Field(8, ge=0, description="consecutive failures before a host is skipped; 0 = never")
    timeout: float = Field(20.0, gt=0, description="total seconds per URL, retries and redirects included")
    retries: int = Field(2, ge=0, le=10, description="retries of transient errors: timeouts, 429, 5xx")
    backoff: float = Field(0.5, ge=0, description="seconds before the first retry; doubles, with jitter")
    max_bytes: int = Field(32_000_000, ge=1, description="maximum bytes of one image")
    chunk_bytes: int = Field(
        512_000_000, ge=1, description="maximum bytes of all images of a chunk; beyond, the largest ones fail"
    )
    min_rate: int = Field(1000, ge=0, description="minimum bytes per second of a response, over 5 s; 0 = no limit")
    max_redirects: int = Field(5, ge=0, le=20, description="maximum redirects; each is checked like the first address")
    allow_private: tuple[str, ...] = Field((), description="non-public networks to allow: 127.0.0.0/8, ...")
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        (80, 443, 8080, 8443), description="allowed ports; [] = any"
    )
    opt_out: tuple[Literal["robots.txt", "x-robots-tag", "noml", "tdmrep"], ...] = Field(
        ("robots.txt", "x-robots-tag", "noml", "tdmrep"), description="opt-out signals that are respected; [] = none"
    )
    user_agent: str = Field("capfilt/0.1 (image-text curation)", description="sent with every request")
    contact: str = Field("", description="your URL or e-mail address, appended to the User-Agent")

    @field_validator("allow_private")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ip_network(text)
        return value

    @field_validator("user_agent", "contact")
    @classmethod
    def _is_a_header(cls, value: str, info: ValidationInfo) -> str:
        if not (value.isascii() and value.isprintable() and (value.strip() or info.field_name == "contact")):
            raise ValueError("must be printable ASCII, not empty")
        return value

    @property
    def agent(self) -> str:
        """The User-Agent header."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent


class DecodeSettings(Section):
    """What counts as an image."""

    max_pixels: int = Field(
        100_000_000, ge=1, description="maximum width x height, read from the header before decoding"
    )
    min_side: int = Field(1, ge=1, description="minimum pixels of the shorter side")
    max_metadata: int = Field(16_000_000, ge=1, description="maximum bytes of ICC, EXIF, XMP, comments, ... in a file")
    max_frames: int = Field(10_000, ge=1, description="maximum frames or pages of a file; the first one is used")
    timeout: float = Field(60.0, gt=0, description="maximum seconds per image")
    isolate: bool = Field(True, description="decode in a separate process, so that a crash or hang fails one row")
    exclude_eval: tuple[str, ...] = Field((), description="evaluation sets whose images are excluded; any INPUT")
    eval_radius: int = Field(
        8,
        ge=0,
        le=16,
        description="maximum distance (bits of 64) to the phash of an excluded image or its mirror image",
    )


class CaptionSettings(Section):
    """Who writes captions, and how."""

    captioner: str | tuple[str, ...] = Field(
        "demo-captioner", description="a name of `capfilt models`, a directory, a server's URL; or a list of them"
    )
    n: int = Field(1, ge=0, le=100, description="captions per image and captioner")
    beams: int = Field(0, ge=0, le=20, description="beams of beam search, the n best are kept; 0 = nucleus sampling")
    top_p: float = Field(
        0.9, gt=0, le=1, description="nucleus sampling: total probability of the tokens to sample from"
    )
    top_k: int = Field(
        0, ge=0, description="nucleus sampling: number of likeliest tokens to sample from; 0 = any (BLIP's code: 50)"
    )
    temperature: float = Field(1.0, gt=0, description="divides the logits; below 1 = less varied captions")
    repetition_penalty: float = Field(
        1.0, gt=0, description="above 1: tokens said before, prompt included, are less likely (BLIP's code: 1.1)"
    )
    max_tokens: int = Field(
        30, ge=1, le=512, description="maximum tokens of a caption after the prompt (BLIP's code counts the prompt too)"
    )
    min_tokens: int = Field(5, ge=0, description="minimum tokens of a caption after the prompt, its end included")
    prompt: str = Field(
        "",
        description="prefix of every caption, removed from the result; the question to a chat model; empty = the one "
        "that a captioner of `capfilt train` was trained with",
    )
    template: str = Field("", description="chat template (Jinja) of a VLM; empty = its own, none = the bare prompt")
    shots: str = Field(
        "",
        description="Parquet with columns image and text: examples for a Flamingo, VLM or server; empty = none",
    )
    max_side: int = Field(768, ge=32, le=4096, description="maximum pixels of the longer side for a VLM or server")
    round: int = Field(0, ge=0, description="bootstrapping round, part of every caption's random seed")
    seed: int = Field(0, ge=0, description="seed of the run, part of every caption's random seed")

    @property
    def captioners(self) -> tuple[str, ...]:
        """Those who write, in order; none where nothing is to be written."""
        names = (self.captioner,) if isinstance(self.captioner, str) else self.captioner
        return names if self.n else ()

    @field_validator("captioner")
    @classmethod
    def _are_some(cls, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not names or (not isinstance(names, str) and len(set(names)) < len(names)):
            raise ValueError("must list at least one captioner, without duplicates")
        return names

    @field_validator("beams")
    @classmethod
    def _finds_n(cls, beams: int, info: ValidationInfo) -> int:
        if beams and info.data.get("n", 0) > beams:
            raise ValueError(f"finds no more than {beams} captions, and caption.n is {info.data['n']}")
        return beams


class EndpointSettings(Section):
    """How a captioner is asked that is a server (OpenAI's protocol: vLLM, SGLang, ...)."""

    model: str = Field(_ENDPOINT.model, description="its name for the model; empty = the only one it serves")
    key_env: str = Field(_ENDPOINT.key_env, description="environment variable with the API key; empty = none is sent")
    concurrency: int = Field(
        _ENDPOINT.concurrency, ge=1, le=1024, description="concurrent requests; never more than engine.batch * n"
    )
    retries: int = Field(
        _ENDPOINT.retries, ge=0, le=20, description="retries of transient errors: no answer, 408, 429, 5xx"
    )
    backoff: float = Field(_ENDPOINT.backoff, ge=0, description="seconds before the first retry; doubles, with jitter")
    timeout: float = Field(_ENDPOINT.timeout, gt=0, description="seconds per attempt")
    logprobs: bool = Field(_ENDPOINT.logprobs, description="request log-probabilities; some servers refuse them")


class ScoreSettings(Section):
    """Who judges."""

    judges: tuple[str, ...] = Field(
        ("demo-filter",),
        description="names of `capfilt models` or directories; TAG=NAME adds _TAG to its score columns",
    )
    token: Literal["enc", "cls"] = Field("enc", description="first token of ITM: [ENC] as in the paper, or [CLS]")
    sentences: bool = Field(
        False, description="score the sentences of a text too: columns _min and _mean (itm_min, itm_mean, ...)"
    )
    image_judges: tuple[str, ...] = Field(
        (), description="describe images; each becomes a layer: quality, tags:MODEL, head:MODEL, embedding:MODEL"
    )
    tags: str = Field("", description="TOML file of prompt sets for tags:MODEL; empty = those that ship")
    head: str = Field("", description="file of the layers for head:MODEL (safetensors or .pth)")


class SelectSettings(Section):
    """What is kept, decided over stored scores. A policy takes of these what it needs; in its SQL they are $name.

    `judge`, `first`, `second` and `judges` name columns of captions/ that judges wrote: itm, itc, clip, ...
    """

    policy: str = Field("blip", description="a file of pipelines/selection/policies/ by name, or a path to a .sql file")
    judge: str = Field("itm", description="score column that decides (blip, quantile, balance)")
    threshold: float = Field(0.5, description="minimum score of a kept text (blip, ensemble, balance)")
    first: str = Field("clip", description="score column that ranks (blip2), or makes the short list (laion-coco)")
    second: str = Field("clip_2", description="score column that ranks the short list (laion-coco)")
    shortlist: int = Field(5, ge=1, description="texts per image on the short list (laion-coco)")
    top: int = Field(0, ge=0, description="maximum kept texts per image; 0 = as published: blip2 two, laion-coco one")
    fraction: float = Field(0.3, gt=0, le=1, description="share of all texts to keep, highest scores first (quantile)")
    per_source: bool = Field(False, description="apply that share to web and synthetic texts separately (quantile)")
    judges: tuple[str, ...] = Field(
        ("itm", "clip"), min_length=1, description="score columns that decide together (ensemble)"
    )
    combine: Literal["vote", "mean", "min"] = Field("vote", description="how their scores are combined (ensemble)")
    thresholds: tuple[float, ...] = Field(
        (), description="minimum score for the vote of each judge; [] = threshold for all"
    )
    votes: int = Field(0, ge=0, description="minimum votes of a kept text; 0 = more than half (ensemble)")
    concepts: tuple[str, ...] = Field(
        (), description="words and phrases that texts are balanced over; [] = the frequent words of the run (balance)"
    )
    per_concept: int = Field(20_000, ge=1, description="texts to keep for each concept, about (balance)")
    calibrated: bool = Field(False, description="use the probabilities of `capfilt calibrate` instead of scores")
    where: str = Field(
        "",
        description="SQL condition over columns of captions and images that a kept text must meet; empty = none",
    )
    flags: tuple[str, ...] = Field(
        ("empty", "empty_box"), description="flags in captions/ that drop a text before the policy"
    )
    min_words: int = Field(0, ge=0, description="minimum words of a text")
    max_words: int = Field(0, ge=0, description="maximum words of a text; 0 = any")
    max_repetition: float = Field(
        1.0, ge=0, le=1, description="maximum share of word pairs that occur earlier in the text"
    )
    max_images: int = Field(0, ge=0, description="maximum images with the same text; 0 = any")
    boilerplate: bool = Field(
        False, description="drop file names, shop and page phrases (pipelines/selection/text_rules.py)"
    )
    scripts: tuple[Script, ...] = Field(
        (), description="writing systems that most letters must belong to: Latin, ...; [] = any"
    )
    banned: tuple[str, ...] = Field((), description="regular expressions (RE2, case-insensitive) that drop a text")
    synthetic_share: float = Field(
        -1, ge=-1, le=1, description="synthetic share among kept web and synthetic texts; -1 = unchanged"
    )

    @field_validator("thresholds")
    @classmethod
    def _fit_the_judges(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        judges = info.data.get("judges", ())
        if value and judges and len(value) != len(judges):
            raise ValueError(f"must be one for each of the {len(judges)} judges {', '.join(judges)}, or []")
        return value

    @field_validator("votes")
    @classmethod
    def _can_be_reached(cls, value: int, info: ValidationInfo) -> int:
        if value > len(info.data.get("judges", ())):
            raise ValueError("is more than there are judges")
        return value

    @field_validator("synthetic_share")
    @classmethod
    def _is_a_share(cls, value: float) -> float:
        if value < 0 and value != -1:
            raise ValueError("must be in 0..1, or -1")
        return value


class OutputSettings(Section):
    """What is written."""

    images: Literal["bytes", "reference"] = Field(
        "bytes", description="bytes = corpus/ contains the images; reference = it names them"
    )
    pixels: Literal["original", "resized"] = Field(
        "original",
        description="original = files are stored as they came; resized = resized and re-encoded, after captioners and "
        "judges got their pixels from the original",
    )
    resize_mode: Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"] = Field(
        "keep_ratio",
        description="of resized, img2dataset's names: image_size is the shorter side (keep_ratio; center_crop cuts out "
        "the center) or the longer one (keep_ratio_largest; border pads it with white to a square); no = not resized",
    )
    image_size: int = Field(384, ge=1, le=8192, description="of resized: pixels of that side")
    resize_only_if_bigger: bool = Field(True, description="of resized: images are never enlarged")
    encode_format: Literal["jpg", "png", "webp"] = Field("jpg", description="of resized: format of the stored files")
    encode_quality: int = Field(
        95, ge=0, le=100, description="of resized: quality of jpg and webp; compression level of png, at most 9"
    )
    skip_reencode: bool = Field(
        False, description="of resized: an image that keeps its size and has that format is stored as it came"
    )

    @field_validator("encode_quality")
    @classmethod
    def _is_a_level(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("encode_format") == "png" and value > 9:
            raise ValueError("is the compression level of a png, 0 to 9")
        return value


AS_THEY_CAME: Final = OutputSettings()
"""Images are stored as they came."""


def _names(settings: Any) -> Iterator[str]:
    """All names in nested settings."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield name
            yield from _names(value)


Stage = Literal["fetch", "decode", "caption", "score", "commit"]
"""Stages of a run that resources can be given to; `score` has its own only where models are split."""


class EngineSettings(Section):
    """Where it runs."""

    kind: Literal["ray", "local"] = Field(
        "ray",
        description="ray = several chunks at once, here or on a cluster; local = chunks one after the other in this "
        "process, without Ray: for debugging and small runs. The tables are the same. Only ray has several workers and "
        "nodes, and continues when a model process ends",
    )
    address: str = Field("local", description="Ray: local = started for the run; auto, HOST:PORT or ray://... = joined")
    workers: int = Field(1, ge=1, description="maximum number of model actors")
    min_workers: int = Field(
        0, ge=0, description="initial number of model actors; scales up while chunks are queued; 0 = all"
    )
    split: bool = Field(False, description="captioner and judges in separate actors; false = all models in one")
    judge_workers: int = Field(0, ge=0, description="judge actors, if split; 0 = as many as workers")
    cpus: int = Field(0, ge=0, description="logical CPUs of a Ray started for the run; 0 = cores + 2")
    gpus: float = Field(-1, ge=-1, description="GPUs per model actor; -1 = one if there are any")
    resources: dict[Stage, dict[str, Annotated[float, Field(ge=0)]]] = Field(
        {}, description="resources of a stage, instead of the defaults: {caption = {CPU = 2, GPU = 0.5, A100 = 1}}"
    )
    ray: dict[str, Any] = Field({}, description="further settings of ray.init: {object_store_memory = 4000000000}")
    niceness: int = Field(
        0,
        ge=0,
        le=19,
        description="niceness of the workers of a Ray started for the run; over 0 they give way to other programs",
    )
    wait_minutes: float = Field(
        0, ge=0, description="minutes to wait until a cluster has grown to what the run needs; 0 = fail at once"
    )
    device: str = Field("auto", description="torch device; auto = cuda, then mps, then cpu")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: bfloat16 on cuda")
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        32,
        description="images per micro-batch; auto = as many as fit a GPU (CPU: 32), may change last digits of scores",
    )
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads per model actor, may change scores in the last digits; "
        "0 = cores / actors of the node, or OMP_NUM_THREADS where engine.kind = 'local'",
    )
    compile: bool = Field(
        False, description="torch.compile the image tower of BLIP and MED; worthwhile on GPUs, in long runs"
    )
    stall_minutes: float = Field(30.0, gt=0, description="minutes without progress until the run stops")

    @field_validator("address")
    @classmethod
    def _is_where_ray_is(cls, value: str, info: ValidationInfo) -> str:
        if value != "local" and info.data.get("kind") == "local":
            raise ValueError("names a Ray cluster, and engine.kind = 'local' uses none")
        return value

    @field_validator("min_workers")
    @classmethod
    def _is_no_more_than_all(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("workers", value):
            raise ValueError(f"is more than engine.workers = {info.data['workers']}")
        return value

    @field_validator("ray")
    @classmethod
    def _holds_no_secret(cls, value: dict[str, Any]) -> dict[str, Any]:
        if name := next((name for name in _names(value) if is_secret_name(name)), ""):
            raise ValueError(f"{name} would be stored in run.toml; set it in the environment of the nodes")
        return value


class RunLimits(Section):
    """When a run stops by itself: most of it fails in one way, so that a setting or the network is the likely cause.

    Looked at after every chunk, over the rows of the latest chunks: at least 200, at most about 1,000.
    """

    max_failures: float = Field(
        0.5, gt=0, le=1, description="maximum share of rows that fail for one reason; 1 = never stop"
    )
    max_refusals: float = Field(
        0.5,
        gt=0,
        le=1,
        description="maximum share of a captioner's captions that are empty or unusable; 1 = never stop",
    )


class Recipe(Section):
    """All settings of a run."""

    name: str = Field("blip", description="name of the recipe")
    about: str = Field("", description="one line for `capfilt recipes`")
    input: InputSettings = InputSettings()
    fetch: FetchSettings = FetchSettings()
    decode: DecodeSettings = DecodeSettings()
    caption: CaptionSettings = CaptionSettings()
    endpoint: EndpointSettings = EndpointSettings()
    score: ScoreSettings = ScoreSettings()
    select: SelectSettings = SelectSettings()
    output: OutputSettings = OutputSettings()
    engine: EngineSettings = EngineSettings()
    run: RunLimits = RunLimits()
