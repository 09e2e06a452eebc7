"""A training on Ray, as `ray_engine.py` is a run: several workers, by Ray Train.

Ray Train brings up the workers and their process group, and ends them all when one dies. What a worker does is a plain
function, the same that trains in one process. It reads the pairs itself: Ray Data could not go on in mid-epoch, to the
bit, where a training was killed. For the same reason nothing is reported to Ray as a checkpoint.
"""

import logging
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from capfilt.core.config import EngineSettings
from capfilt.core.errors import CapfiltError, RunFailed
from capfilt.models.training.group import Group
from capfilt.pipelines.engine.cluster import runtime
from capfilt.pipelines.engine.process_state import environment

SCRATCH: Final = "ray"
"""Where Ray keeps its own notes while it works, inside the folder of a training."""


class Work(Protocol):
    """What each worker does."""

    def __call__(self, group: Group, tell: Callable[[Any], None]) -> Any:
        """Take part; `tell` carries anything that can be pickled to the caller of `together`."""
        ...


def together(work: Work, settings: EngineSettings, home: Path, hear: Callable[[Any], None]) -> Any:
    """Have `settings.workers` processes work as one group; what the first of them returns.

    Args:
        settings: `gpus` of each worker, 0 = they compute on CPUs and speak gloo.
        home: a folder that all workers see.
        hear: called, in this process, with what a worker tells.

    Raises:
        CapfiltError: what a worker raised of that kind.
        RunFailed: one died, or raised something else.
    """
    with environment(RAY_CHDIR_TO_TRIAL_DIR="0"), runtime(settings):  # or relative paths mean other files to workers
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError
        from ray.util.queue import Queue

        # Ray Train logs a worker's whole traceback; the caller gets its last line.
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        # No CPU of its own: a worker that waits for it would wait for ever.
        queue = Queue(actor_options={"num_cpus": 0})
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"work": work, "queue": queue},
            torch_config=TorchConfig(backend="nccl" if settings.gpus else "gloo"),
            scaling_config=ScalingConfig(num_workers=settings.workers, use_gpu=settings.gpus > 0),
            # A name used before would make Ray go on where that one ended.
            run_config=RunConfig(name=uuid.uuid4().hex, storage_path=str((home / SCRATCH).resolve())),
        )
        ends: list[tuple[str, Any]] = []
        listening = threading.Thread(target=_listen, args=(queue, hear, ends))
        listening.start()
        failed = ""
        try:
            # Ray takes 30 to 60 s here before the first step on two cores: a controller, workers that import torch, a
            # process group.
            trainer.fit()
        except TrainingFailedError as error:
            # The text is a traceback, whose last line says what was raised.
            failed = [line for line in str(error).splitlines() if line.strip()][-1]
        finally:
            queue.put(("stop", None))
            listening.join()
            shutil.rmtree(home / SCRATCH, ignore_errors=True)
    raised = [value for kind, value in ends if kind == "raised"]
    if raised:
        raise raised[0]
    if failed:
        raise RunFailed(f"a worker failed: {failed}")
    return next(value for kind, value in ends if kind == "done")


def _worker(settings: dict[str, Any]) -> None:
    """One worker, in its own process."""
    import ray.train

    queue, context = settings["queue"], ray.train.get_context()
    group = Group(context.get_world_rank(), context.get_world_size())
    try:
        # No ray.train.report(): it stores checkpoints asynchronously, and a worker that died in epoch 2 went on from
        # epoch 1, not 2.
        outcome = settings["work"](group, lambda told: queue.put(("told", told)))
    except CapfiltError as error:
        queue.put(("raised", error))
        raise
    if group.rank == 0:
        queue.put(("done", outcome))


def _listen(queue: Any, hear: Callable[[Any], None], ends: list[tuple[str, Any]]) -> None:
    """Pass on what workers tell until all is over."""
    while (message := queue.get())[0] != "stop":
        if message[0] == "told":
            hear(message[1])
        else:
            ends.append(message)
