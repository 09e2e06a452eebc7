"""What differs between the plan of a run and what a resume was given, in words; "" when nothing does."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from capfilt.core.config import Recipe
from capfilt.core.serialization import canonical_json, encodable

FREE: Final = frozenset(
    {
        "engine.kind",
        "engine.address",
        "engine.workers",
        "engine.min_workers",
        "engine.split",
        "engine.judge_workers",
        "engine.cpus",
        "engine.niceness",
    }
    | {"engine.gpus", "engine.resources", "engine.ray", "engine.wait_minutes", "engine.stall_minutes"}
    | {"endpoint.key_env", "endpoint.concurrency", "endpoint.retries", "endpoint.backoff", "endpoint.timeout"}
    | {"fetch.concurrency", "fetch.per_host", "fetch.per_host_rate", "fetch.backoff"}
    | {"output.images"}
)
"""Settings that say how fast, not what: they may change between a run and its resume.

`engine.batch` is not here: the size of a batch moves the last bits of a score.
"""

FREE_SECTIONS: Final = ("run.", "select.")
"""Sections that are free as a whole: `run` says when to stop, and selection can be done again at any time."""


def settings_that_matter(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide the bytes of a commit, by dotted name ("caption.n"), out of a dumped recipe."""
    sections = {name: values for name, values in recipe.items() if isinstance(values, Mapping)}
    flat = {f"{name}.{key}": value for name, values in sections.items() for key, value in values.items()}
    return {key: value for key, value in flat.items() if key not in FREE and not key.startswith(FREE_SECTIONS)}


def changed_recipe(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first setting that matters and differs, of two dumped recipes; what an older plan lacks was the default."""
    defaults = settings_that_matter(Recipe().model_dump(mode="json"))
    before, now = (defaults | settings_that_matter(recipe) for recipe in (old, new))
    for key in sorted((before.keys() | now.keys()) - (_unused(before) | _unused(now))):
        if before.get(key) != now.get(key):
            return f"was planned with {key} = {_shown(before.get(key))}, now {_shown(now.get(key))}"
    return ""


def _unused(settings: Mapping[str, Any]) -> set[str]:
    """Settings that have no effect, because of others."""
    unused = set() if settings["decode.exclude_eval"] else {"decode.eval_radius"}
    if settings["output.pixels"] == "original":
        unused |= {key for key in settings if key.startswith("output.") and key != "output.pixels"}
    return unused


def changed_limit(old: int, new: int) -> str:
    """The difference of two `--limit`; 0 is none."""
    return f"was planned with --limit {old or 'unset'}, now {new or 'unset'}" if old != new else ""


def changed_inputs(old: Sequence[Mapping[str, Any]], new: Sequence[tuple[str, int, str]]) -> str:
    """The first input file that came, went or has another size or digest."""
    before = {item["identity"]: (item["size"], item["digest"]) for item in old}
    now = {encodable(name): (size, digest) for name, size, digest in new}
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            return f"was planned with input {name}, which is not given now"
        if name not in before:
            return f"was planned without input {name}"
        if before[name][0] != now[name][0]:
            return f"input {name} changed: size {before[name][0]} -> {now[name][0]}"
        if before[name] != now[name]:
            return f"input {name} changed: same size, other content"
    return ""


def changed_models(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The first model ("captioner demo-captioner") that came, went or has other weights."""
    for role in sorted(old.keys() | new.keys()):
        if role not in new or role not in old:
            return f"was planned {'with' if role in old else 'without'} {role}"
        if old[role] != new[role]:
            return f"{role}: {'examples' if role.startswith('shots ') else 'weights'} changed"
    return ""


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    return value if isinstance(value, str) and value else canonical_json(value)
