"""What the stages of a run take of a cluster, and whether it has that: plain arithmetic over resources, without Ray.

Model actors hold what they take for the whole run. If they left no room for the tasks that feed them, the run would
stand still without a word; so a plan is laid out on the nodes before it starts, and refused where it does not fit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capfilt.core.config import EngineSettings, Recipe

Resources = dict[str, float]
"""As Ray names them: CPU, GPU, memory (bytes), and whatever nodes were started with."""

LOCAL: Final = "local"
"""The address of a Ray that is started for the run and ends with it."""

TASKS: Final[dict[str, Resources]] = {"fetch": {"CPU": 0.25}, "decode": {"CPU": 1.0}, "commit": {"CPU": 0.25}}
"""Stages that run as tasks. Different CPUs keep Ray from fusing neighbours: fetching waits, decoding computes."""

MODEL: Final[Resources] = {"CPU": 0.5}
"""What a model actor takes beside its GPU."""

FEW_FETCHERS: Final = 4
"""Chunks fetched at once on one machine, or as many as it has cores; each is a process that starts with the run."""

TINY: Final = 1e-6
"""What a sum of fractions (0.1 CPU, ten times) may differ by from the whole."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Model actors that do the same; as many as there are chunks at most."""

    stages: tuple[str, ...]  # ("caption", "score"): one actor does both
    setting: str  # that says how many
    least: int
    most: int
    takes: Resources  # each


def tasks(engine: EngineSettings) -> dict[str, Resources]:
    """What a task of each stage takes."""
    # Ignored: the keys of engine.resources are Literals, those of TASKS strings.
    return {stage: _changed(takes, engine.resources.get(stage, {})) for stage, takes in TASKS.items()}  # type: ignore[call-overload]


def pools(recipe: Recipe, chunks: int, has_gpu: bool) -> list[Pool]:
    """The pools of model actors of a recipe.

    Args:
        has_gpu: there is a GPU somewhere in the cluster; decides for `engine.gpus = -1`.
    """
    engine = recipe.engine
    gpus = engine.gpus if engine.gpus >= 0 else float(has_gpu)
    model = MODEL | ({"GPU": gpus} if gpus else {})
    most = min(engine.workers, chunks)
    least = min(engine.min_workers or engine.workers, most)
    writer = _changed(model, engine.resources.get("caption", {}))
    if not (engine.split and recipe.caption.n and recipe.score.judges):
        return [Pool(("caption", "score"), "engine.workers", least, most, writer)]
    judges = min(engine.judge_workers or engine.workers, chunks)
    judge = _changed(model, engine.resources.get("score", {}))
    return [
        Pool(("caption",), "engine.workers", least, most, writer),
        Pool(("score",), "engine.judge_workers", min(least, judges), judges, judge),
    ]


def fetchers(engine: EngineSettings, cores: int, chunks: int) -> int | None:
    """Chunks fetched at once at most; None = as many as their resources allow, on a cluster.

    Before the first chunk is through, Ray starts a process for every task it has room for. On one machine those of
    fetching, four a core, kept the cores busy with imports while the first chunk waited for them.
    """
    return min(max(FEW_FETCHERS, cores), chunks) if engine.address == LOCAL else None


def options(takes: Mapping[str, float]) -> dict[str, Any]:
    """Resources as Ray wants to be asked for them."""
    custom = {name: value for name, value in takes.items() if name not in ("CPU", "GPU", "memory")}
    known = {"num_cpus": takes.get("CPU", 0), "num_gpus": takes.get("GPU", 0), "resources": custom}
    return known | ({"memory": takes["memory"]} if "memory" in takes else {})


def total(some: Iterable[Pool], room: Mapping[str, Resources]) -> Counter[str]:
    """What the least actors of all pools and the largest task take together."""
    whole: Counter[str] = Counter()
    for pool in some:
        whole.update({name: value * pool.least for name, value in pool.takes.items()})
    for name in {name for takes in room.values() for name in takes}:
        # Ignored: to mypy a Counter counts whole things; Ray's CPUs come in quarters.
        whole[name] += max(takes.get(name, 0) for takes in room.values())  # type: ignore[assignment]
    return whole


def missing(nodes: Sequence[Resources], some: Sequence[Pool], room: Mapping[str, Resources]) -> str:
    """What a cluster lacks to run these pools and, beside them, one task of each stage; "" if it lacks nothing.

    Args:
        nodes: what each node has in all.
        room: what a task of each stage takes.
    """
    free = [dict(node) for node in nodes]
    # The largest first: small actors that were placed before them would take the room on every node.
    for pool in sorted(some, key=lambda pool: (-pool.takes.get("GPU", 0), -pool.takes.get("CPU", 0))):
        placed = sum(_place(free, pool.takes) for _ in range(pool.least))
        if placed < pool.least:
            rest = {name: value * (pool.least - placed) for name, value in pool.takes.items()}
            return (
                f"{pool.setting} = {pool.least}: {_shown(pool.takes)} for each {' + '.join(pool.stages)} actor, "
                f"room for {placed}; missing {_shown(rest)}; the cluster is {_cluster(nodes)}"
            )
    for stage, takes in room.items():
        if not any(_fits(node, takes) for node in free):
            return (
                f"no room for {stage} beside the model actors: missing {_shown(takes)} on one node; "
                f"the cluster is {_cluster(nodes)}; take fewer engine.workers or smaller engine.resources"
            )
    return ""


def _changed(takes: Resources, change: Mapping[str, float]) -> Resources:
    return {name: value for name, value in {**takes, **change}.items() if value}


def _place(free: list[Resources], takes: Resources) -> bool:
    """Take it from the node with the most free CPUs: Ray spreads actors too."""
    node = max((node for node in free if _fits(node, takes)), key=lambda node: node.get("CPU", 0), default=None)
    if node is None:
        return False
    node.update({name: node[name] - value for name, value in takes.items()})
    return True


def _fits(node: Resources, takes: Resources) -> bool:
    return all(node.get(name, 0) >= value - TINY for name, value in takes.items())


def _cluster(nodes: Sequence[Resources]) -> str:
    kinds = Counter(_shown({name: node[name] for name in sorted(node) if _tells(name)}) for node in nodes)
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items()) or "empty"


def _tells(name: str) -> bool:
    """Whether people asked for a resource of that name; Ray adds some of its own."""
    return ":" not in name and name not in ("memory", "object_store_memory")


def _shown(resources: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{name}: {value:g}" for name, value in resources.items()) + "}"
