"""Files of prompt sets: the shipped one is whole, and a mistake is one line that names the setting."""

from pathlib import Path

import pytest

from capfilt.core.errors import ConfigError
from capfilt.models.image_judges.prompt_sets import read_prompt_sets


def test_the_shipped_tags_are_columns() -> None:
    assert list(read_prompt_sets().columns.values()) == ["float"] * 7
    assert {"nsfw", "watermark", "text_heavy"} <= read_prompt_sets().columns.keys()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("scale = 0\n[bus]\nprompts = ['a bus']\nagainst = ['x']", "scale must be a number above 0"),
        ("", "names no tag"),
        ("[Bus]\nprompts = ['a bus']\nagainst = ['x']", "'Bus' cannot be a tag"),
        ("[bus]\nprompt = 'a bus'", r"\[bus\] must be a table of prompts and against"),
        ("[bus]\nprompts = []\nagainst = ['x']", "bus.prompts must be a list of texts"),
        ("[bus]\nprompts = ['a bus']", "bus.against must be a list of texts"),
        ("[bus\n", "score.tags = "),
        (None, "score.tags = .*No such file"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_setting(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "tags.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=told) as error:
        read_prompt_sets(str(file))
    assert str(error.value).startswith("score.tags = ")
    assert "\n" not in str(error.value)
