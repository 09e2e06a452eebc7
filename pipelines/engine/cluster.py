"""Ray for the time of a run: started here or joined, and asked whether it has what the run needs."""

import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from capfilt.core.config import EngineSettings, Recipe
from capfilt.core.errors import ConfigError, RunFailed
from capfilt.core.secrets import without_secret_settings
from capfilt.pipelines.engine import resources
from capfilt.pipelines.engine.process_state import environment, loggers, sigterm_waits
from capfilt.pipelines.engine.resources import LOCAL, Pool, Resources

ENVIRONMENT: Final = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or `uv run` makes every worker build an environment
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # or every actor pool prints a line about restarts
}
LOOK_AGAIN: Final = 2.0
"""Seconds between two looks at a cluster that has to grow."""


@contextmanager
def joined(recipe: Recipe, chunks: int) -> Iterator[tuple[Any, list[Pool]]]:
    """The module `ray`, connected, and the pools of model actors that the cluster has room for.

    Raises:
        ConfigError: no cluster at the address, or one that cannot hold the run; one line.
        RunFailed: Ray did not come up on this machine.
    """
    with runtime(recipe.engine, _logical_cpus(recipe, chunks)) as ray, ExitStack() as afterwards:
        yield ray, _placed(ray, recipe, chunks, afterwards)


@contextmanager
def runtime(engine: EngineSettings, cpus: int = 0) -> Iterator[Any]:
    """Ray for the time of a run or a training, quiet, with the settings that were found to work.

    Ray that this process has running already is used as it is and left running, as it was found: its DataContext, the
    environment, loggers and SIGTERM's handler are put back. So in a notebook, or in many runs by one program, nothing
    waits for Ray to start.

    Args:
        cpus: logical cores of a Ray that is started here, unless `engine.cpus` says; 0 = the machine's and two more.

    Raises:
        ConfigError: no cluster at the address, or a setting that Ray does not take; one line.
        RunFailed: Ray did not come up on this machine.
    """
    with environment(**ENVIRONMENT):
        import ray
        import ray.data

        ours = not ray.is_initialized()
        with loggers("ray", "ray.data", "ray.train"):
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            try:
                if ours:
                    # Logical CPUs cost nothing by themselves, but Ray starts a worker for each at once, 3 s of CPU
                    # apiece: a job of 20 s took 33 s with 3 of them on two cores, 43 to 48 s with 8.
                    _start(ray, engine, engine.cpus or cpus or (os.cpu_count() or 1) + 2)
                with ray.data.DataContext.current(_data_context(ray, engine)):
                    yield ray
            finally:
                if ours:
                    with sigterm_waits():
                        ray.shutdown()


def _data_context(ray: Any, engine: EngineSettings) -> Any:
    """The settings of Ray Data for a run: a copy, because those of the process are the user's."""
    context = ray.data.DataContext.get_current().copy()
    # Ray Data prints its own bars and plans to stdout, where capfilt prints results.
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray's default is 1,800 s; a stage that has no CPU left waits that long without an error.
    context.execution_no_progress_timeout_s = round(engine.stall_minutes * 60)
    return context


def actors_on_a_node(ray: Any, some: Sequence[Pool]) -> int:
    """Model actors that share the cores of a node, about."""
    return math.ceil(sum(pool.most for pool in some) / max(1, sum(bool(node.get("CPU")) for node in _nodes(ray))))


def _placed(ray: Any, recipe: Recipe, chunks: int, afterwards: ExitStack) -> list[Pool]:
    """The pools, once the cluster has room for them.

    Args:
        afterwards: withdraws what was asked of the autoscaler, which would keep the nodes up after the run.

    Raises:
        ConfigError: it has not, and does not grow to it in time.
    """
    engine, room = recipe.engine, resources.tasks(recipe.engine)
    until = time.monotonic() + engine.wait_minutes * 60
    asked = False
    while True:
        nodes = _nodes(ray)
        pools = resources.pools(recipe, chunks, any(node.get("GPU") for node in nodes))
        lacks = resources.missing(nodes, pools, room)
        if not lacks:
            return pools
        if time.monotonic() >= until:
            raise ConfigError(f"{lacks}{_advice(engine)}")
        if not asked:
            _ask_for(pools, room)
            afterwards.callback(_ask_for, [], {})
            asked = True
        time.sleep(LOOK_AGAIN)


def _advice(engine: EngineSettings) -> str:
    if engine.wait_minutes:
        return f"; waited engine.wait_minutes = {engine.wait_minutes:g}"
    return "" if engine.address == LOCAL else "; if it can grow, set engine.wait_minutes"


def _ask_for(pools: list[Pool], room: dict[str, Resources]) -> None:
    """Tell the cluster's autoscaler, where there is one, what is needed all at once."""
    from ray.autoscaler.sdk import request_resources

    actors = [dict(pool.takes) for pool in pools for _ in range(pool.least)]
    request_resources(bundles=[*actors, *map(dict, room.values())])


def _nodes(ray: Any) -> list[Resources]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _start(ray: Any, engine: EngineSettings, cpus: int) -> None:
    """Join a cluster, or start Ray on this machine; once more if it was too slow: it gives its own parts 30 s, fixed.

    Raises:
        ConfigError: no cluster at the address, or a setting that Ray does not take; one line.
        RunFailed: it did not come up twice; one line.
    """
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False} | engine.ray
    if engine.address != LOCAL:
        try:
            with _hushed(), sigterm_waits():
                ray.init(address=engine.address, **settings)
        except Exception as error:  # Ray raises bare Exceptions here
            raise ConfigError(f"engine.address = {engine.address!r}: {_first_line(error)}") from error
        return
    # The dashboard takes 4 s of start-up and 250 MB.
    settings = {"include_dashboard": False, "num_cpus": cpus} | settings
    # Ray's default is 15: beside a program that keeps all cores busy its workers get a thirtieth of the time.
    settings["_system_config"] = {"worker_niceness": engine.niceness} | settings.get("_system_config", {})
    for last in (False, True):
        try:
            with _hushed(), sigterm_waits():
                ray.init(address=LOCAL, **settings)
            return
        except (TypeError, ValueError) as error:
            raise ConfigError(f"engine.ray = {without_secret_settings(engine.ray)}: {_first_line(error)}") from error
        except Exception as error:  # Ray raises bare Exceptions here
            ray.shutdown()
            if last:
                raise RunFailed(f"Ray did not start on this machine, is it overloaded? {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _logical_cpus(recipe: Recipe, chunks: int) -> int:
    """Cores and a little more, for fetching waits; as many as the plan needs, for on one machine they cost nothing."""
    pools = resources.pools(recipe, chunks, has_gpu=False)
    return max((os.cpu_count() or 1) + 2, math.ceil(resources.total(pools, resources.tasks(recipe.engine))["CPU"]))


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep native code off stderr for a moment: Ray's C++ core prints a line about its own log level there."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
