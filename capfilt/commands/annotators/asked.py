"""A model that is to annotate, and as what: a judge, a captioner or an image judge."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal

import pyarrow as pa

from capfilt.core.config import Recipe
from capfilt.core.errors import ConfigError
from capfilt.core.serialization import column_type
from capfilt.ledger.joined import run_captions_schema
from capfilt.ledger.layers import KEYS, Subject
from capfilt.ledger.ledger import Ledger
from capfilt.models.registry import image_judges, registry
from capfilt.pipelines.recipes.load import make_recipe, merge
from capfilt.pipelines.stages.stage_models import placement, score_columns

RoleName = Literal["judge", "captioner", "image judge"]


@dataclass(frozen=True, slots=True)
class Role:
    """What somebody is asked for."""

    option: str
    subject: Subject  # of its layer
    section: str  # of the recipe, which names the model
    names: tuple[str, ...]  # settings of the section that only name the model and its files, whose digests count
    settable: tuple[str, ...]  # what `--set` may change: where the model runs, and what it looks for or writes


ROLES: Final[Mapping[RoleName, Role]] = {
    "judge": Role("--judge", "texts", "score", ("judges",), ("engine.", "score.token", "score.sentences")),
    "captioner": Role("--captioner", "captions", "caption", ("captioner",), ("engine.", "caption.", "endpoint.")),
    "image judge": Role(
        "--image-judge", "images", "score", ("image_judges", "tags", "head"), ("engine.", "score.tags", "score.head")
    ),
}


@dataclass(frozen=True, slots=True)
class Annotator:
    """A model that is to annotate."""

    role_name: RoleName
    model: str
    name: str  # of the layer
    where: str  # SQL; "" = all images

    @property
    def role(self) -> Role:
        return ROLES[self.role_name]

    @classmethod
    def of(cls, role_name: RoleName, model: str, name: str, where: str) -> "Annotator":
        """With a name made for the layer where none is given."""
        return cls(role_name, model, name or layer_name(role_name, model), where)

    def recipe(self, base: dict[str, Any], overrides: Sequence[str]) -> Recipe:
        """The recipe that its layer is made with: that of the run, with this model alone.

        Raises:
            ConfigError: a setting that cannot change here.
        """
        for override in overrides:
            if not override.strip().startswith(self.role.settable):
                raise ConfigError(f"--set {override!r}: only settings of {_spoken(self.role.settable)} can change here")
        # Stored images passed the tests of the run, and may be smaller than what they were made of.
        stored = {"output": {"pixels": "original"}, "decode": {"min_side": 1, "exclude_eval": []}}
        own: dict[RoleName, dict[str, Any]] = {
            "judge": {"caption": {"n": 0}, "score": {"judges": [self.model]}},
            "captioner": {"caption": {"captioner": self.model}},
            "image judge": {"caption": {"n": 0}, "score": {"judges": [], "image_judges": [self.model]}},
        }
        return make_recipe(merge(base, stored | own[self.role_name]), tuple(overrides), "annotate")

    def columns(self, ledger: Ledger, recipe: Recipe) -> pa.Schema:
        """The columns of its layer, without the keys."""
        if self.role_name == "judge":
            return pa.schema([(column, pa.float32()) for column in score_columns(recipe)])
        if self.role_name == "image judge":
            told = image_judges.columns(self.model, placement(recipe))
            return pa.schema([(column, column_type(kind)) for column, kind in told.items()])
        keys = KEYS["captions"].names
        return pa.schema([field for field in run_captions_schema(ledger) if field.name not in keys])


def layer_name(role_name: RoleName, model: str) -> str:
    """The name of a model's layer: its tag, what an image judge tells, or else the last part of its name."""
    tag, plain = registry.untagged(model)
    told = image_judges.kind_of(model) if role_name == "image judge" else ""
    last = told or PurePosixPath(plain.replace(":", "/")).name
    return tag or re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_")[:64] or "layer"


def _spoken(settable: Sequence[str]) -> str:
    """Whole sections in brackets, as they stand in a recipe."""
    spoken = [f"[{name.removesuffix('.')}]" if name.endswith(".") else name for name in settable]
    return f"{', '.join(spoken[:-1])} and {spoken[-1]}"
