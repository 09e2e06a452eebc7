"""One captioner or one judge, loaded once and asked as often as wanted."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capfilt.api.pictures import PictureLike, named_bytes
from capfilt.api.settings import recipe_with
from capfilt.commands.try_models import caption_rows, picture_rows, score_rows
from capfilt.core.config import Recipe
from capfilt.pipelines.stages import stage_models

if TYPE_CHECKING:
    from capfilt.models.protocols import Caption


class LoadedCaptioner:
    """A captioner in memory; made by `load_captioner`."""

    def __init__(self, name: str, recipe: Recipe) -> None:
        stage_models.check_models(recipe)
        self.name = name
        self._recipe = recipe
        self._captioners = stage_models.load_captioners(recipe)

    @property
    def digest(self) -> str:
        """Which weights: 12 hex digits of their sha256."""
        return self._captioners[0].digest

    def caption(self, images: Sequence[PictureLike], n: int = 1, seed: int = 0) -> "list[list[Caption]]":
        """Captions of each image, through the same decoding and checks as in a run.

        Args:
            images: paths, image files as bytes, Pillow images, or uint8 arrays [height, width, 3].
            n: captions an image, 1..100. A caption depends on the bytes of its image, on `seed`, its number and the
                settings, and not on the other images.
            seed: of the random streams.

        Returns:
            For each image, `n` objects with `text`, `logprob` (natural logarithm, summed over tokens; None where the
            model does not tell) and `flags`.

        Raises:
            InputError: an image that cannot be read or decoded.
            ConfigError: an impossible `n`.
        """
        from capfilt.models.protocols import Caption

        recipe = _changed(self._recipe, {"caption": {"n": n, "seed": seed}})
        pictures = [named_bytes(picture, number) for number, picture in enumerate(_listed(images))]
        if not pictures:
            return []
        found = caption_rows(picture_rows(pictures, (), recipe), self._captioners, recipe)
        return [[Caption(c["text"], c["logprob"], tuple(c["flags"])) for c in captions] for captions in found]

    def __repr__(self) -> str:
        return f"<capfilt captioner {self.name} @ {self.digest}>"


class LoadedJudge:
    """A judge in memory; made by `load_judge`."""

    def __init__(self, name: str, recipe: Recipe) -> None:
        stage_models.check_models(recipe)
        self.name = name
        self._recipe = recipe
        self._judges = stage_models.load_judges(recipe)

    @property
    def digest(self) -> str:
        """Which weights: 12 hex digits of their sha256."""
        return self._judges[0].digest

    @property
    def columns(self) -> tuple[str, ...]:
        """The scores it gives, such as `("itm", "itc")`."""
        return self._judges[0].columns

    def score(self, image: PictureLike, texts: Sequence[str]) -> list[dict[str, float]]:
        """The scores of texts of one image.

        Args:
            image: a path, an image file as bytes, a Pillow image, or a uint8 array [height, width, 3].
            texts: any number of them.

        Returns:
            For each text a score by column; higher is a better match. `itm` is a probability in 0..1, `itc` and `clip`
            are cosines in -1..1.

        Raises:
            InputError: an image that cannot be read or decoded.
        """
        if not texts:
            return []
        rows = picture_rows([named_bytes(image, 0)], _listed(texts), self._recipe)
        found = score_rows(rows, self._judges, self._recipe)[0]
        return [{column: text[column] for column in self.columns} for text in found]

    def __repr__(self) -> str:
        return f"<capfilt judge {self.name} @ {self.digest}: {', '.join(self.columns)}>"


def load_captioner(
    name: str, *, device: str = "auto", dtype: str = "auto", set: Mapping[str, Any] | None = None
) -> LoadedCaptioner:
    """Load a captioner.

    Args:
        name: of `list_captioners()`, a directory, `owner/model` of the hub, `python:MODULE:CLASS` or the address of a
            server.
        device: torch device; auto = cuda, then mps, then cpu.
        dtype: auto (bfloat16 on cuda, else float32), float32, bfloat16 or float16.
        set: further settings of a recipe, such as `{"caption.prompt": "a photo of", "caption.beams": 3}`.

    Raises:
        ModelError: a model that is missing, broken or no captioner.
        ConfigError: an unknown setting or an impossible value.
    """
    own = {"caption.captioner": name, "score.judges": [], "engine.device": device, "engine.dtype": dtype}
    return LoadedCaptioner(name, recipe_with("blip", {**(set or {}), **own}))


def load_judge(
    name: str, *, device: str = "auto", dtype: str = "auto", set: Mapping[str, Any] | None = None
) -> LoadedJudge:
    """Load a judge.

    Args:
        name: of `list_judges()`, a directory, `owner/model` of the hub, `open_clip:...` or `python:MODULE:CLASS`.
        device: as of `load_captioner`.
        dtype: as of `load_captioner`.
        set: further settings of a recipe.

    Raises:
        ModelError: a model that is missing, broken or no judge.
        ConfigError: an unknown setting or an impossible value.
    """
    own = {"caption.n": 0, "score.judges": [name], "engine.device": device, "engine.dtype": dtype}
    return LoadedJudge(name, recipe_with("blip", {**(set or {}), **own}))


def _changed(recipe: Recipe, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    from capfilt.pipelines.recipes.load import make_recipe, merge

    settings = merge(recipe.model_dump(), {section: dict(values) for section, values in changes.items()})
    return make_recipe(settings, (), recipe.name)


def _listed(values: Any) -> list[Any]:
    """A list, and not the parts of one single value."""
    return [values] if isinstance(values, str | bytes) else list(values)
