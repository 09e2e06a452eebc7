"""The JSON Schemas of recipes are those of the settings, and every shipped recipe names and satisfies its own."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from capfilt.cli.runs.recipe_schema import FOLDER, KINDS, recipe_schema, schema_text
from capfilt.pipelines.recipes.load import RECIPES
from command_line import invoke

FILES = sorted(RECIPES.rglob("*.toml"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_committed_schema_is_that_of_the_settings(kind: str) -> None:
    made = "remake them: python -m capfilt.cli.runs.recipe_schema"
    assert (FOLDER / f"{kind}.json").read_text(encoding="utf-8") == schema_text(kind), made
    assert json.loads(invoke("recipes", "--schema", kind).stdout) == recipe_schema(kind)
    jsonschema.Draft7Validator.check_schema(recipe_schema(kind))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(RECIPES)))
def test_a_shipped_recipe_names_its_schema_and_satisfies_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.match(r"#:schema (\S+)\n", text)
    assert named
    schema = path.parent / named[1]
    kind = path.parent.name if path.parent != RECIPES else "run"
    assert schema.resolve() == (FOLDER / f"{kind}.json").resolve()
    jsonschema.validate(tomllib.loads(text), json.loads(schema.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [
        ("run", {"caption": {"m": 1}}),
        ("run", {"caption": {"n": 101}}),
        ("run", {"engine": {"dtype": "int8"}}),
        ("train", {"schedule": {"batch": 1}}),
        ("train", {"filter": {"schedule": {"batch": "many"}}}),
        ("bootstrap", {"rounds": 2}),
    ],
)
def test_a_wrong_key_value_or_range_does_not_satisfy_it(kind: str, recipe: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe, recipe_schema(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_of_a_schema_is_described_and_has_a_default(kind: str) -> None:
    schema = recipe_schema(kind)
    for section, model in schema["$defs"].items():
        for name, setting in model["properties"].items():
            assert setting.get("description"), f"{section}.{name}"
            assert "default" in setting, f"{section}.{name}"
