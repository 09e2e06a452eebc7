"""JSON Schemas of recipes, generated from the settings, so that an editor completes and checks a TOML file.

Shipped recipes name their schema on their first line, as Taplo and Even Better TOML read it: `#:schema PATH`. The
committed files are made by `python -m capfilt.cli.runs.recipe_schema`; a test compares them with the settings.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from capfilt.bootstrap.config import BootstrapRecipe
from capfilt.core.config import Recipe
from capfilt.models.systems.registry import SYSTEMS
from capfilt.pipelines.recipes.load import RECIPES
from capfilt.training.config import recipe_type

FOLDER: Final = RECIPES / "schemas"

Schema = dict[str, Any]


def recipe_schema(kind: str) -> Schema:
    """The JSON Schema (draft 7, which TOML editors understand) of recipes of a kind of `KINDS`."""
    title, make = KINDS[kind]
    made = make()
    made.pop("required", None)  # --set and options may give what a file leaves out
    made["properties"]["base"] = {"type": "string", "description": "recipe to start from: a name, or a TOML file"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **made, "title": title}


def schema_text(kind: str) -> str:
    """The schema as it is printed and committed."""
    return json.dumps(recipe_schema(kind), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _train_schema() -> Schema:
    made = recipe_type().model_json_schema()
    sections = {name: value for name, value in made["properties"].items() if "$ref" in value}
    own = {"type": "object", "additionalProperties": False, "properties": sections}
    systems = {name: {**own, "description": f"settings for `capfilt train {name}` only"} for name in SYSTEMS}
    made["properties"] |= systems
    return made


KINDS: Final[Mapping[str, tuple[str, Callable[[], Schema]]]] = {
    "run": ("Recipe of `capfilt run`", Recipe.model_json_schema),
    "train": ("Recipe of `capfilt train`", _train_schema),
    "bootstrap": ("Recipe of `capfilt bootstrap`", BootstrapRecipe.model_json_schema),
}
"""Kinds of recipes: what each is called, and how its schema is made."""


def write_schemas(folder: Path = FOLDER) -> None:
    """Write the schema of every kind to `folder`, as KIND.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / f"{kind}.json").write_text(schema_text(kind), encoding="utf-8")


if __name__ == "__main__":
    write_schemas()
