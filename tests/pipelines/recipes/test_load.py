"""Recipes that stand on others, and settings that are written for `--set`."""

from pathlib import Path

import pytest

from capfilt.core.errors import ConfigError
from capfilt.core.serialization import setting
from capfilt.pipelines.recipes.load import load_recipe


def test_a_recipe_stands_on_another(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "blip"\n[caption]\nn = 7\n')
    (tmp_path / "more.toml").write_text(f'base = "{tmp_path}/mine.toml"\n[caption]\ntop_p = 0.5\n')
    recipe = load_recipe(str(tmp_path / "more.toml"))
    assert (recipe.caption.n, recipe.caption.top_p) == (7, 0.5)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": "a"}, r"it is its own base \(a\.toml -> a\.toml\)"),
        ({"a": "b", "b": "c", "c": "b"}, r"it is its own base \(a\.toml -> b\.toml -> c\.toml -> b\.toml\)"),
        ({"a": 3}, "base = 3 is no name of a recipe"),
    ],
)
def test_a_base_that_leads_nowhere_is_one_line(files: dict[str, object], said: str, tmp_path: Path) -> None:
    for name, base in files.items():
        named = f'"{tmp_path}/{base}.toml"' if isinstance(base, str) else base
        (tmp_path / f"{name}.toml").write_text(f"base = {named}\n")
    with pytest.raises(ConfigError, match=said):
        load_recipe(str(tmp_path / "a.toml"))


@pytest.mark.parametrize("value", ["models/🐕", "a\\b", 'a "b"', "tab\there", "caf\u00e9\u2028\x7f"])
def test_a_setting_is_read_as_it_was_meant(value: str) -> None:
    assert load_recipe("blip", (setting("caption.captioner", value),)).caption.captioner == value
    assert load_recipe("blip", (setting("score.judges", [value]),)).score.judges == (value,)
