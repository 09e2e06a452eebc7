"""Recipes: every setting of a run, in TOML, checked before any work starts.

A recipe is a file of `pipelines/recipes/` (by name) or a path to a TOML file. It may name a `base` recipe that it
changes. `--set section.key=value` overrides single settings; values are read as TOML, so `--set caption.n=10` is a
number and `--set fetch.allow_private='["127.0.0.0/8"]'` a list; a bare word is a string.
"""

import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from capfilt.errors import ConfigError

RECIPES: Final = Path(__file__).parent / "pipelines" / "recipes"

Settings = dict[str, Any]


class Section(BaseModel):
    """A part of a recipe: frozen, unknown keys refused, defaults stated."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(Section):
    """How rows are read and cut into chunks."""

    url: str = Field("auto", description="column with the URL (or the file path); auto = guessed from the usual names")
    text: str = Field("auto", description="column with the text; auto = guessed, none = the input has no text")
    chunk_rows: int = Field(256, ge=1, le=10_000, description="rows a chunk (the unit of commit and resume)")
    chunk_bytes: int = Field(64_000_000, ge=1_000_000, description="bytes of image data a chunk, about")


class Fetch(Section):
    """How URLs are downloaded."""

    concurrency: int = Field(32, ge=1, le=1024, description="connections at once, a worker")
    per_host: int = Field(8, ge=1, description="connections at once to one host, a worker")
    timeout: float = Field(20.0, gt=0, description="seconds for one URL in all, retries and redirects included")
    retries: int = Field(2, ge=0, le=10, description="further tries of what can heal: timeouts, 429, 5xx")
    backoff: float = Field(0.5, ge=0, description="seconds before the first retry; doubles, with jitter")
    max_bytes: int = Field(32_000_000, ge=1, description="bytes one image may have")
    max_redirects: int = Field(5, ge=0, le=20, description="redirects followed, each checked like the first address")
    allow_private: tuple[str, ...] = Field((), description="networks to allow that are not public: 127.0.0.0/8, ...")
    opt_out: bool = Field(True, description="honour X-Robots-Tag: noai, noimageai, noindex, noimageindex")
    user_agent: str = Field("capfilt/0.1 (image-text curation)", description="sent with every request")

    @field_validator("allow_private")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ip_network(text)
        return value

    @field_validator("user_agent")
    @classmethod
    def _is_a_header(cls, value: str) -> str:
        if not (value.isascii() and value.isprintable() and value.strip()):
            raise ValueError("must be printable ASCII, not empty")
        return value


class Decode(Section):
    """What counts as an image."""

    max_pixels: int = Field(100_000_000, ge=1, description="width x height, read from the header before decoding")
    min_side: int = Field(1, ge=1, description="pixels the shorter side must have")


class Caption(Section):
    """Who writes captions, and how."""

    captioner: str = Field("demo-captioner", description="a name of `capfilt models` or a checkpoint directory")
    n: int = Field(1, ge=0, le=100, description="captions an image")
    top_p: float = Field(0.9, gt=0, le=1, description="nucleus: sample among the likeliest tokens of this total mass")
    temperature: float = Field(1.0, gt=0, description="divides the logits; below 1 is more careful")
    max_tokens: int = Field(30, ge=1, le=512, description="tokens a caption has at most")
    min_tokens: int = Field(5, ge=0, description="tokens a caption has at least")
    prompt: str = Field("", description="words every caption starts from; removed from the result")
    round: int = Field(0, ge=0, description="round of bootstrapping, part of every caption's random stream")
    seed: int = Field(0, ge=0, description="seed of the run, part of every caption's random stream")


class Score(Section):
    """Who judges."""

    judges: tuple[str, ...] = Field(("demo-filter",), description="names of `capfilt models` or checkpoint directories")
    token: Literal["enc", "cls"] = Field("enc", description="first token of ITM: [ENC] as in the paper, or [CLS]")


class Select(Section):
    """What is kept, decided over stored scores."""

    policy: str = Field("blip", description="a file of pipelines/policies/ by name, or a path to a .sql file")
    threshold: float = Field(0.5, description="the policy's threshold (blip: least softmax-ITM)")


class Output(Section):
    """What is written."""

    images: Literal["bytes", "reference"] = Field("bytes", description="bytes = corpus/ stands alone; or reference")


class Engine(Section):
    """Where it runs."""

    workers: int = Field(1, ge=1, description="model actors")
    cpus: int = Field(0, ge=0, description="logical CPUs given to Ray; 0 = cores + 2")
    gpus: float = Field(-1, ge=-1, description="GPUs a model actor takes; -1 = one if the machine has any")
    device: str = Field("auto", description="torch device; auto = cuda, then mps, then cpu")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: bfloat16 on cuda")
    batch: int = Field(32, ge=1, description="images a micro-batch")
    stall_minutes: float = Field(30.0, gt=0, description="minutes without progress after which the run stops")


class Recipe(Section):
    """All settings of a run."""

    name: str = Field("blip", description="what the recipe is called")
    about: str = Field("", description="one line for `capfilt recipes`")
    input: Input = Input()
    fetch: Fetch = Fetch()
    decode: Decode = Decode()
    caption: Caption = Caption()
    score: Score = Score()
    select: Select = Select()
    output: Output = Output()
    engine: Engine = Engine()


def recipe_names() -> list[str]:
    """Names of the recipes that ship."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str = "blip", overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `section.key=value` overrides.

    Raises:
        ConfigError: an unknown recipe, key or impossible value; one line that names the setting.
    """
    settings = _read(name_or_path)
    for override in overrides:
        _override(settings, override)
    return _validate(settings, name_or_path)


def _read(name_or_path: str) -> Settings:
    path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
        if path.suffix != ".toml" or not path.is_file():
            raise ConfigError(f"recipe {name_or_path!r} is not known; there are: {', '.join(recipe_names())}")
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path}: {error}") from error
    base = settings.pop("base", None)
    return _merge(_read(base), settings) if base else settings


def _merge(base: Settings, change: Settings) -> Settings:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _override(settings: Settings, override: str) -> None:
    key, sign, text = override.partition("=")
    parts = key.strip().split(".")
    if not sign or len(parts) != 2:
        raise ConfigError(f"--set {override!r}: expected section.key=value, e.g. caption.n=10")
    section = settings.setdefault(parts[0], {})
    if not isinstance(section, dict):
        raise ConfigError(f"--set {override!r}: {parts[0]} is not a section")
    section[parts[1]] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word


def _validate(settings: Settings, origin: str) -> Recipe:
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(first["loc"])
            raise ConfigError(f"recipe {origin}: unknown setting {where}; known: {', '.join(known)}") from error
        raise ConfigError(f"recipe {origin}: {where} = {first['input']!r}: {first['msg']}") from error


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    section = Recipe.model_fields.get(str(loc[0])) if len(loc) > 1 else None
    model = section.annotation if section is not None else Recipe
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
