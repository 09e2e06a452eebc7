"""Who can describe images: check them, and load them. Free of torch until one is loaded.

| name | what it tells |
|---|---|
| `quality` | sharpness, entropy, contrast, border, aspect, near_solid; no weights |
| `tags:MODEL` | zero-shot tags by a CLIP-shaped judge, from the prompt sets in `score.tags` |
| `head:MODEL` | a number by linear layers on its features, from the file `score.head`: LAION's aesthetic predictor |
| `embedding:MODEL` | its features themselves |
| `python:MODULE:CLASS` | a class of your own |

MODEL is any judge with a feature of an image alone: CLIP, SigLIP, open_clip, BLIP's ITC. A tag tells two apart:
`b32=embedding:MODEL` gives the column `embedding_b32`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.checkpoint import digest as digest_of
from capfilt.models.image_judges.prompt_sets import read_prompt_sets
from capfilt.models.pixels import PixelSpec
from capfilt.models.registry import plugin, registry
from capfilt.models.registry.resolve import resolve
from capfilt.models.runtime import Placement

if TYPE_CHECKING:
    from capfilt.models.protocols import ImageInput, ImageJudge

ROLE: Final = "image judge"

QUALITY: Final = "quality"
NAMES: Final = (QUALITY, "tags:MODEL", "head:MODEL", "embedding:MODEL")
"""The image judges that ship."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A name, read."""

    tag: str
    kind: str  # quality, tags, head, embedding; "" = a class of a person's own
    model: str  # the judge whose features it uses, or the class


def _read(name: str) -> _Named:
    tag, plain = registry.untagged(name)
    if plugin.is_plugin(plain):
        return _Named(tag, "", plain)
    kind, _, model = plain.partition(":")
    if kind == QUALITY and not model:
        return _Named(tag, kind, "")
    if f"{kind}:MODEL" in NAMES:
        if not model:
            raise ModelError(f"image judge {name!r}: must name the judge whose features it uses: {kind}:MODEL")
        return _Named(tag, kind, model)
    raise ModelError(f"image judge {name!r} is not one of: {', '.join(NAMES)}, python:MODULE:CLASS")


def check(name: str, placement: Placement) -> str:
    """Make sure, before any work, that an image judge is whole; its digest, 12 hex digits.

    Raises:
        ModelError, ConfigError: one line that names what is wrong.
    """
    read = _read(name)
    if not read.kind:
        return str(plugin.load_class(read.model, ROLE).digest)
    if read.kind == QUALITY:
        return str(_quality().digest)
    parts = [registry.check(read.model, "filter", placement)]
    if not resolve(read.model).features:
        raise ModelError(f"image judge {name!r}: {read.model} has no feature of an image alone")
    if read.kind == "tags":
        parts.append(read_prompt_sets(placement.tags).digest)
    if read.kind == "head":
        parts.append(digest_of([_head(placement)]))
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]


def columns(name: str, placement: Placement) -> dict[str, str]:
    """Its columns and their types, see `protocols.ImageJudge`; loads no model."""
    read = _read(name)
    own: Mapping[str, str]
    if not read.kind:
        own = plugin.load_class(read.model, ROLE).columns
    elif read.kind == QUALITY:
        own = _quality().columns
    elif read.kind == "tags":
        own = read_prompt_sets(placement.tags).columns
    elif read.kind == "head":
        own = {"head": "float"}
    else:
        own = {"embedding": f"halffloat[{resolve(read.model).features}]"}
    return dict(zip(registry.with_tag(tuple(own), read.tag), own.values(), strict=True))


def pixels(name: str, placement: Placement) -> PixelSpec:
    """What pixels it wants, without loading it."""
    read = _read(name)
    if not read.kind:
        return cast(PixelSpec, plugin.load_class(read.model, ROLE).pixels)
    if read.kind == QUALITY:
        return cast(PixelSpec, _quality().pixels)
    return registry.pixels(read.model, "filter", placement)


def kind_of(name: str) -> str:
    """quality, tags, head or embedding; "" for a class of a person's own."""
    return _read(name).kind


def model_of(name: str) -> str:
    """The judge whose features it uses; "" where it uses none."""
    read = _read(name)
    return read.model if read.kind not in ("", QUALITY) else ""


def load(name: str, placement: Placement) -> "ImageJudge":
    """Load an image judge, under the columns that its tag asks for.

    Raises:
        ModelError, ConfigError: see `check`.
    """
    read = _read(name)
    judge: ImageJudge
    if not read.kind:
        judge = plugin.load_class(read.model, ROLE)(placement)
    elif read.kind == QUALITY:
        judge = _quality()(placement)
    else:
        judge = _over_features(read, name, placement)
    return TaggedImageJudge(judge, read.tag) if read.tag else judge


def _over_features(read: _Named, name: str, placement: Placement) -> "ImageJudge":
    from capfilt.models.image_judges import features

    plain = registry.untagged(name)[1]
    digest, told = check(name, placement), columns(plain, placement)
    model = registry.load_judge(read.model, replace(placement, sentences=False))  # a judge by sentences has no features
    if read.kind == "tags":
        return features.TagJudge(plain, digest, told, model, placement.tags)
    if read.kind == "head":
        return features.HeadJudge(plain, digest, told, model, _head(placement))
    return features.EmbeddingJudge(plain, digest, told, model)


def _quality() -> Any:
    return import_module("capfilt.models.image_judges.quality").QualityJudge


def check_head(name: str, placement: Placement) -> None:
    """Make sure that the head of `head:MODEL` fits the model's feature; reads the head, and not the model.

    Raises:
        ModelError: it does not, or is no head.
    """
    from capfilt.models.image_judges.features import read_head

    width, features = read_head(_head(placement))[0][0].shape[1], resolve(model_of(name)).features
    if width != features:
        raise ModelError(f"image judge {name!r}: the head reads {width} numbers, the model's feature has {features}")


def _head(placement: Placement) -> Path:
    if not placement.head:
        raise ConfigError("score.head must name the file of the head's layers for head:MODEL")
    return Path(placement.head).expanduser()


class TaggedImageJudge:
    """`judge` under columns that end in a tag, so that several of one kind can stand side by side."""

    def __init__(self, judge: "ImageJudge", tag: str) -> None:
        self.judge = judge
        self.name, self.digest, self.pixels = judge.name, judge.digest, judge.pixels
        names = registry.with_tag(tuple(judge.columns), tag)
        self.columns: Mapping[str, str] = dict(zip(names, judge.columns.values(), strict=True))

    def describe(self, images: "ImageInput") -> dict[str, list[Any]]:
        """What the judge tells, under the tagged names."""
        told = self.judge.describe(images)
        return {new: told[old] for new, old in zip(self.columns, self.judge.columns, strict=True)}
