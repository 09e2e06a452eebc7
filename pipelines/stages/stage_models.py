"""The models of a recipe: checked before a run, asked for their pixels, loaded."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from capfilt.core import schema
from capfilt.core.config import Recipe
from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.pixels import PixelSpec
from capfilt.models.registry import image_judges, plugin, registry
from capfilt.pipelines.stages.caption import decoding
from capfilt.pipelines.stages.micro_batches import Auto

if TYPE_CHECKING:
    from capfilt.models.protocols import Captioner, ImageJudge, Judge


NOT_PLANNED: Final[Mapping[str, str]] = MappingProxyType({})
"""Of models that no plan names."""
ON_A_CPU: Final = 32
"""Images per micro-batch on a CPU, where engine.batch = "auto"."""


def placement(recipe: Recipe) -> registry.Placement:
    """Where and how the recipe's models run."""
    return registry.Placement(
        device=recipe.engine.device,
        dtype=recipe.engine.dtype,
        compile=recipe.engine.compile,
        token=recipe.score.token,
        sentences=recipe.score.sentences,
        tags=recipe.score.tags,
        head=recipe.score.head,
        max_side=recipe.caption.max_side,
        template=recipe.caption.template,
        endpoint=registry.Endpoint(**recipe.endpoint.model_dump()),
    )


def batch_size(recipe: Recipe) -> int | Auto:
    """Images per micro-batch. No search on a CPU: larger batches gain nothing, and running out of memory kills it."""
    if recipe.engine.batch == "auto" and placement(recipe).resolve()[0] == "cpu":
        return ON_A_CPU
    return recipe.engine.batch


def check_models(recipe: Recipe) -> dict[str, str]:
    """Digest of every model a recipe names, by role and name. Loads none; a server is asked what it serves.

    Raises:
        ModelError: one that is missing, broken or of the wrong role.
        ConfigError: two judges that would write the same column, a search that the captioner cannot do, or examples
            that it does not take.
    """
    place = placement(recipe)
    registry.check_columns(recipe.score.judges, schema.RESERVED, place)
    digests = {f"filter {name}": registry.check(name, "filter", place) for name in recipe.score.judges}
    digests |= {f"image judge {name}": image_judges.check(name, place) for name in recipe.score.image_judges}
    for writer in recipe.caption.captioners:
        digests[f"captioner {writer}"] = registry.check(writer, "captioner", place)
        if recipe.caption.shots and not registry.takes_shots(writer, place):
            raise ConfigError(f"caption.shots = {recipe.caption.shots!r}: {writer} takes no examples")
        if recipe.caption.beams and not registry.searches(writer):
            raise ConfigError(f"caption.beams = {recipe.caption.beams}: {writer} supports sampling only; set it to 0")
        room = registry.positions(writer)
        if room is not None and recipe.caption.max_tokens > room:
            raise ConfigError(f"caption.max_tokens = {recipe.caption.max_tokens}: {writer} has {room} positions")
    if recipe.caption.shots and recipe.caption.captioners:
        from capfilt.pipelines.examples.shots import digest_of_shots

        digests[f"shots {recipe.caption.shots}"] = digest_of_shots(recipe.caption.shots)
    return digests


def score_columns(recipe: Recipe) -> list[str]:
    """The columns that the recipe's judges write."""
    return [column for name in recipe.score.judges for column in registry.columns(name, placement(recipe))]


def pixels(recipe: Recipe) -> list[PixelSpec]:
    """The pixels the recipe's models want, each kind once."""
    place = placement(recipe)
    specs = [registry.pixels(name, "captioner", place) for name in recipe.caption.captioners]
    specs += [registry.pixels(name, "filter", place) for name in recipe.score.judges]
    specs += [image_judges.pixels(name, place) for name in recipe.score.image_judges]
    return list(dict.fromkeys(specs))


def load_captioners(recipe: Recipe, planned: Mapping[str, str] = NOT_PLANNED) -> "list[Captioner]":
    """The recipe's captioners, in its order, after each has shown on two plain images that it captions.

    Args:
        planned: what `check_models` gave when the work was planned; files may have changed since.

    Raises:
        ModelError: one that cannot be loaded, does not caption or is another one than planned.
    """
    return [_captioner(name, recipe, planned) for name in recipe.caption.captioners]


def load_judges(recipe: Recipe, planned: Mapping[str, str] = NOT_PLANNED) -> "list[Judge]":
    """The recipe's judges, in its order, after each has shown on two plain images that it scores.

    Raises:
        ModelError: one that cannot be loaded, does not score or is another one than planned.
    """
    return [_judge(name, recipe, planned) for name in recipe.score.judges]


def load_image_judges(recipe: Recipe, planned: Mapping[str, str] = NOT_PLANNED) -> "list[ImageJudge]":
    """The recipe's image judges, in its order, after each has shown on two plain images that it describes.

    Raises:
        ModelError: one that cannot be loaded, does not describe or is another one than planned.
    """
    return [_image_judge(name, recipe, planned) for name in recipe.score.image_judges]


def prove_models(recipe: Recipe) -> None:
    """Let models that only a try can prove do their work once, on a CPU, before a run is planned.

    Raises:
        ModelError: one that cannot be loaded or does not work.
    """
    here = recipe.model_copy(
        update={"engine": recipe.engine.model_copy(update={"device": "cpu", "dtype": "auto", "compile": False})}
    )
    for name in recipe.caption.captioners:
        if recipe.caption.n and registry.is_unproven(name, "captioner"):
            _captioner(name, here, NOT_PLANNED)
    for name in recipe.score.judges:
        if registry.is_unproven(name, "filter"):
            _judge(name, here, NOT_PLANNED)
    for name in recipe.score.image_judges:
        if image_judges.kind_of(name) == "head":
            image_judges.check_head(name, placement(recipe))
        if not (model := image_judges.model_of(name)) or registry.is_unproven(model, "filter"):
            _image_judge(name, here, NOT_PLANNED)


def _captioner(name: str, recipe: Recipe, planned: Mapping[str, str]) -> "Captioner":
    """A class of a person's own is not tried: what else its `caption` does is not known."""
    from capfilt.models.registry.probe import probe_captioner

    place, shots = placement(recipe), recipe.caption.shots
    if shots:
        from capfilt.pipelines.examples.shots import load_shots

        digest = planned.get(f"shots {shots}", "")
        place = replace(place, shots=load_shots(shots, registry.pixels(name, "captioner", place), digest))
    captioner = registry.load_captioner(name, place)
    _check_digest(f"captioner {name}", captioner.digest, planned)
    if not plugin.is_plugin(name) and recipe.caption.n:
        probe_captioner(captioner, recipe.caption.prompt, decoding(recipe.caption))
    return captioner


def _judge(name: str, recipe: Recipe, planned: Mapping[str, str]) -> "Judge":
    from capfilt.models.registry.probe import probe_judge

    judge = registry.load_judge(name, placement(recipe))
    _check_digest(f"filter {name}", judge.digest, planned)
    if not plugin.is_plugin(registry.untagged(name)[1]):
        probe_judge(judge)
    return judge


def _image_judge(name: str, recipe: Recipe, planned: Mapping[str, str]) -> "ImageJudge":
    from capfilt.models.registry.probe import probe_image_judge

    judge = image_judges.load(name, placement(recipe))
    _check_digest(f"image judge {name}", judge.digest, planned)
    if not plugin.is_plugin(registry.untagged(name)[1]):
        probe_image_judge(judge)
    return judge


def _check_digest(role: str, digest: str, planned: Mapping[str, str]) -> None:
    """Raise a `ModelError` where a model is another one than its run was planned with."""
    if planned.get(role, digest) != digest:
        raise ModelError(f"{role}: weights changed since the run was planned")
