"""The models of a recipe: checked before a run, asked for their pixels, loaded."""

from typing import TYPE_CHECKING, Final

from capfilt.core.config import Recipe
from capfilt.core.errors import ConfigError
from capfilt.models.pixels import PixelSpec
from capfilt.models.registry import plugin, registry
from capfilt.pipelines.stages.caption import decoding
from capfilt.pipelines.stages.micro_batches import Auto

if TYPE_CHECKING:
    from capfilt.models.protocols import Captioner, Judge


ON_A_CPU: Final = 32
"""Images per micro-batch on a CPU, where engine.batch = "auto"."""


def placement(recipe: Recipe) -> registry.Placement:
    """Where and how the recipe's models run."""
    return registry.Placement(
        device=recipe.engine.device,
        dtype=recipe.engine.dtype,
        compile=recipe.engine.compile,
        token=recipe.score.token,
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
        ConfigError: two judges that would write the same column, or a search that the captioner cannot do.
    """
    place = placement(recipe)
    registry.check_columns(recipe.score.judges)
    digests = {f"filter {name}": registry.check(name, "filter", place) for name in recipe.score.judges}
    for writer in recipe.caption.captioners:
        digests[f"captioner {writer}"] = registry.check(writer, "captioner", place)
        if recipe.caption.beams and not registry.searches(writer):
            raise ConfigError(f"caption.beams = {recipe.caption.beams}: {writer} only draws captions; set it to 0")
    return digests


def pixels(recipe: Recipe) -> list[PixelSpec]:
    """The pixels the recipe's models want, each kind once."""
    place = placement(recipe)
    specs = [registry.pixels(name, "captioner", place) for name in recipe.caption.captioners]
    specs += [registry.pixels(name, "filter", place) for name in recipe.score.judges]
    return list(dict.fromkeys(specs))


def load_captioners(recipe: Recipe) -> "list[Captioner]":
    """The recipe's captioners, in its order, after each has shown on two plain pictures that it captions.

    Plug-in classes are not probed: their `caption` may have side effects.

    Raises:
        ModelError: one that cannot be loaded, or says one word over and over.
    """
    return [_captioner(name, recipe) for name in recipe.caption.captioners]


def prove_captioners(recipe: Recipe) -> None:
    """Probe captioners that may not caption, with two plain images on a CPU, before a run is planned.

    Raises:
        ModelError: one that cannot be loaded, or says one word over and over.
    """
    here = recipe.engine.model_copy(update={"device": "cpu", "dtype": "auto", "compile": False})
    for name in filter(registry.may_not_caption, recipe.caption.captioners):
        _captioner(name, recipe.model_copy(update={"engine": here}))


def _captioner(name: str, recipe: Recipe) -> "Captioner":
    from capfilt.models.registry.probe import probe

    captioner = registry.load_captioner(name, placement(recipe))
    if not plugin.is_plugin(name):
        probe(captioner, recipe.caption.prompt, decoding(recipe.caption))
    return captioner


def load_judges(recipe: Recipe) -> "list[Judge]":
    """The recipe's judges, in its order.

    Raises:
        ModelError: one that cannot be loaded.
    """
    return [registry.load_judge(name, placement(recipe)) for name in recipe.score.judges]
