"""Who can caption and who can judge: check them, and load them. Free of torch until a model is loaded.

A captioner is named as `capfilt.models.registry.resolve` reads names, by the address of a server
(`http://HOST:8000/v1`), or as a class of a person's own (`python:MODULE:CLASS`). A judge likewise, and with a tag
where two would give the same column: `TAG=NAME` turns its columns `itm`, `itc`, `clip` into `itm_TAG`, `itc_TAG`,
`clip_TAG`.
"""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, cast

from capfilt.core.clients.endpoint import Endpoint
from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.checkpoint import describe, digest
from capfilt.models.formats.model_info import ModelInfo, Role
from capfilt.models.pixels import PixelSpec
from capfilt.models.registry import families, plugin
from capfilt.models.registry.catalog import CATALOG
from capfilt.models.registry.resolve import locate, resolve
from capfilt.models.runtime import Placement
from capfilt.models.score_columns import with_sentences

if TYPE_CHECKING:
    from capfilt.models.protocols import Captioner, Judge

__all__ = [
    "CATALOG",
    "Endpoint",
    "Placement",
    "check",
    "check_columns",
    "columns",
    "is_unproven",
    "load_captioner",
    "load_judge",
    "locate",
    "pixels",
    "positions",
    "searches",
    "takes_shots",
]

MOST_PROVEN: Final = 4 << 30
"""Bytes of a model that is tried on this machine's CPU before a run is planned."""
_TAGGED: Final = re.compile(r"(?P<tag>[a-z0-9_]+)=(?P<name>.+)")


def check(name: str, role: Role, placement: Placement | None = None) -> str:
    """Make sure, before any work, that a model is whole and of the role asked for; its digest.

    Raises:
        ModelError: one line that names the model and what is wrong.
    """
    name = untagged(name)[1] if role == "filter" else name
    if plugin.is_plugin(name):
        return str(plugin.load_class(name, role).digest)
    if is_url(name):
        return _check_server(name, role, placement or Placement())
    return digest(_found(name, role).files)


def pixels(name: str, role: Role = "captioner", placement: Placement | None = None) -> PixelSpec:
    """What pixels a model wants, without loading it."""
    name = untagged(name)[1] if role == "filter" else name
    max_side = (placement or Placement()).max_side
    if plugin.is_plugin(name):
        return cast(PixelSpec, plugin.load_class(name, role).pixels)
    return PixelSpec(max_side, "fit") if is_url(name) else resolve(name, max_side).pixels


def columns(name: str, placement: Placement | None = None) -> tuple[str, ...]:
    """The scores a judge gives, without loading it."""
    tag, name = untagged(name)
    own = plugin.load_class(name, "filter").columns if plugin.is_plugin(name) else _found(name, "filter").columns
    tagged = with_tag(tuple(own), tag)
    return with_sentences(tagged) if placement and placement.sentences else tagged


def check_columns(judges: Sequence[str], taken: Collection[str] = (), placement: Placement | None = None) -> None:
    """Make sure that no two judges give the same column; SQL does not tell upper case from lower.

    Args:
        taken: names that mean something else where the columns go.

    Raises:
        ConfigError: two do; names both.
    """
    others = {name.lower() for name in taken}
    owner: dict[str, str] = {}
    for judge in judges:
        for column in columns(judge, placement):
            advice = f"'TAG={untagged(judge)[1]}' gives '{column}_TAG'"
            if column.lower() in others:
                raise ConfigError(
                    f"score.judges: {judge!r} gives the column {column!r}, which a run has already: {advice}"
                )
            if before := owner.get(column.lower()):
                raise ConfigError(
                    f"score.judges: {before!r} and {judge!r} both give the column {column!r}; "
                    f"tell one apart by a tag: {advice}"
                )
            owner[column.lower()] = judge


def searches(name: str) -> bool:
    """Whether a captioner can look for its captions by beam search."""
    return plugin.is_plugin(name) or (not is_url(name) and _found(name, "captioner").family == "med")


def takes_shots(name: str, placement: Placement) -> bool:
    """Whether a captioner can be shown examples before an image."""
    if plugin.is_plugin(name) or is_url(name):
        return is_url(name)
    info = _found(name, "captioner")
    if info.family != "vlm" or info.shots == "rows":
        return info.shots == "rows"
    return placement.template != "none" and bool(placement.template or info.shots)


def is_unproven(name: str, role: Role) -> bool:
    """Whether only a try tells if a model does its work: a server, and what others have published.

    What was trained here says itself what it was trained for; a class of a person's own is that person's to try.
    Weights above `MOST_PROVEN` are tried where they run.
    """
    name = untagged(name)[1] if role == "filter" else name
    if plugin.is_plugin(name) or is_url(name):
        return is_url(name)
    info = _found(name, role)
    own = info.family == "qformer" or (info.family == "med" and describe(info.folder).layout is None)
    return not own and sum(path.stat().st_size for path in info.files) <= MOST_PROVEN


def positions(name: str) -> int | None:
    """Tokens that a captioner has room for, prompt included, where its files tell."""
    if plugin.is_plugin(name) or is_url(name):
        return None
    info = _found(name, "captioner")
    return describe(info.folder).config.max_positions if info.family == "med" else None


def load_captioner(name: str, placement: Placement | None = None) -> "Captioner":
    """Load a captioner; the expensive part of an actor's start.

    Raises:
        ModelError: a missing, broken or wrong one.
    """
    placement = placement or Placement()
    if plugin.is_plugin(name):
        return cast("Captioner", plugin.load_class(name, "captioner")(placement))
    if is_url(name):
        from capfilt.models.captioners.endpoint import EndpointCaptioner

        return EndpointCaptioner(name, placement)
    found = _found(name, "captioner", placement)
    return cast("Captioner", families.load(found, "captioner", digest(found.files), placement))


def load_judge(name: str, placement: Placement | None = None) -> "Judge":
    """Load a judge, under the columns that its tag asks for, and with those of sentences where that is asked for.

    Raises:
        ModelError: a missing, broken or wrong one.
    """
    from capfilt.models.judges.sentences import by_sentence
    from capfilt.models.judges.tagged import tagged

    placement = placement or Placement()
    tag, name = untagged(name)
    if plugin.is_plugin(name):
        judge = cast("Judge", plugin.load_class(name, "filter")(placement))
    else:
        found = _found(name, "filter", placement)
        judge = cast("Judge", families.load(found, "filter", digest(found.files), placement))
    judge = tagged(judge, with_tag(judge.columns, tag)) if tag else judge
    return by_sentence(judge) if placement.sentences else judge


def untagged(judge: str) -> tuple[str, str]:
    """The tag ("" without one) and the name of an entry of `score.judges`."""
    matched = _TAGGED.fullmatch(judge)
    return (matched["tag"], matched["name"]) if matched else ("", judge)


def with_tag(columns: tuple[str, ...], tag: str) -> tuple[str, ...]:
    """A judge's columns as its tag turns them."""
    return tuple(f"{column}_{tag}" for column in columns) if tag else columns


def is_url(name: str) -> bool:
    """Whether a captioner is a server."""
    return name.startswith(("http://", "https://"))


def _found(name: str, role: Role, placement: Placement | None = None) -> ModelInfo:
    if is_url(name):
        raise ModelError(f"judge {name}: a server can caption, but not judge")
    found = resolve(name, (placement or Placement()).max_side)
    # By role, not by family: a captioner's ITM head was never trained and would still give numbers.
    if role not in found.roles:
        known = f"; it is a {' and a '.join(found.roles)}" if found.roles else ""
        raise ModelError(f"model {name!r} is not a {role}{known}")
    return found


def _check_server(url: str, role: Role, placement: Placement) -> str:
    from capfilt.models.captioners.openai_client import ChatClient, digest_of

    if role == "filter":
        raise ModelError(f"judge {url}: a server can caption, but not judge")
    return digest_of(ChatClient(url, placement.endpoint).model())
