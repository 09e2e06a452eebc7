"""What outlives a process that dies: an actor beside the driver that knows which rows were at work."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from capfilt.pipelines.stages.micro_batches import BatchRows

MAX_DEATHS: Final = 40
"""Deaths of the process on one stage of one chunk after which the chunk fails: several rows are poison, or all.

One poison row of the largest chunk, 10,000 rows, costs 17: one before batches are logged, 14 halvings, and two alone.
"""

ChunkStage = tuple[str, str]
"""A chunk and a stage."""


class DeathLog:
    """An actor of its own that outlives workers and model actors: the rows that each was working on when it died."""

    def __init__(self) -> None:
        self.at_work: dict[ChunkStage, BatchRows] = {}
        self.died: dict[ChunkStage, Counter[BatchRows]] = {}

    def begin(self, where: ChunkStage) -> Counter[BatchRows]:
        """A stage starts on a chunk; if it had started before, the process died meanwhile."""
        died = self.died.setdefault(where, Counter())
        if where in self.at_work:
            # Stages that end say so, however they end; only a process that died leaves its rows here.
            died[self.at_work[where]] += 1
        self.at_work[where] = ()
        return died

    def enter(self, where: ChunkStage, part: BatchRows) -> None:
        """These rows are at work now; none of them = no single ones."""
        self.at_work[where] = part

    def end(self, where: ChunkStage) -> None:
        """The stage is done with the chunk."""
        self.at_work.pop(where, None)
        self.died.pop(where, None)


@contextmanager
def death_log(ray: Any) -> Iterator[Any]:
    """A `DeathLog` on the driver's node, which is lost last. If it must move, it forgets: that costs a few deaths."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), True)
    settings = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    actor = ray.remote(**settings)(DeathLog).remote()
    try:
        yield actor
    finally:
        ray.kill(actor)  # Ray Data keeps what a dataset was made of, and Ray may go on after the run


class DeathJournal:
    """`micro_batches.Journal` of one stage; logs single batches only after a death, because each entry costs time."""

    def __init__(self, log: Any, stage: str, chunk: str = "") -> None:
        self.log = log
        self.stage = stage
        self.chunk = chunk
        self.careful = False

    def begin(self) -> Counter[BatchRows]:
        died: Counter[BatchRows] = self._ask(self.log.begin)
        if died.total() > MAX_DEATHS:
            self.end()
            raise RuntimeError(f"the process died {died.total()} times")
        self.careful = bool(died)
        return died

    def enter(self, part: BatchRows) -> None:
        if self.careful:
            self._ask(self.log.enter, part)

    def leave(self) -> None:
        self.enter(())

    def end(self) -> None:
        self._ask(self.log.end)

    def _ask(self, method: Any, *values: Any) -> Any:
        import ray

        return ray.get(method.remote((self.chunk, self.stage), *values))
