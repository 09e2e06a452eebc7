"""Prompt sets of zero-shot tags, in a TOML file; tags.toml beside this file ships. Free of torch.

scale = 100                     # of the difference of cosines; CLIP's own logit scale
against = ["a photo"]           # what an image without the tag may be called

[logo]
prompts = ["a company logo"]
against = ["a photo of a room"] # in place of the one above
"""

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ConfigError

SHIPPED: Final = Path(__file__).parent / "tags.toml"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A tag: what an image that has it is called, and one that has not."""

    name: str
    prompts: tuple[str, ...]
    against: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptSets:
    """A file of tags."""

    tags: tuple[PromptSet, ...]
    scale: float
    digest: str  # sha256 of the file

    @property
    def columns(self) -> dict[str, str]:
        """A score a tag."""
        return {tag.name: "float" for tag in self.tags}


def read_prompt_sets(file: str = "") -> PromptSets:
    """The tags of a file; "" = those that ship.

    Raises:
        ConfigError: the file is not there or not of this form; names the setting.
    """
    path = Path(file).expanduser() if file else SHIPPED
    where = f"score.tags = {file!r}"
    try:
        data = path.read_bytes()
        found = tomllib.loads(data.decode())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error
    scale, against = found.pop("scale", 100), found.pop("against", [])
    if not (isinstance(scale, int | float) and not isinstance(scale, bool) and scale > 0):
        raise ConfigError(f"{where}: scale must be a number above 0")
    tags = tuple(_prompt_set(where, name, facts, against) for name, facts in found.items())
    if not tags:
        raise ConfigError(f"{where}: names no tag")
    return PromptSets(tags, float(scale), hashlib.sha256(data).hexdigest())


def _prompt_set(where: str, name: str, facts: Any, against: Any) -> PromptSet:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} cannot be a tag: use lower-case letters, digits and _")
    if not isinstance(facts, dict) or facts.keys() - {"prompts", "against"}:
        raise ConfigError(f"{where}: [{name}] must be a table of prompts and against")
    lists = {"prompts": facts.get("prompts"), "against": facts.get("against", against)}
    for key, texts in lists.items():
        if not (isinstance(texts, list) and texts and all(isinstance(text, str) and text.strip() for text in texts)):
            raise ConfigError(f"{where}: {name}.{key} must be a list of texts")
    return PromptSet(name, tuple(lists["prompts"] or ()), tuple(lists["against"]))
