"""Micro-batches of the model stages: they limit the cost of one bad row, a full device or a dying process.

A batch that raises is retried, because most errors are transient and the same batch gives the same bits. Then
it is halved until one row is left that raises alone: that row is poison, all others succeed. On the second
out-of-memory the batch size is halved for the rest of the run; a size of "auto" is doubled until then. A process that
dies loses its batch, but its `Journal` outlives it and knows which rows it worked on, so the next process halves just
those. Each case costs at most log2(batch) halvings. A batch that was halved and had no bad row is run whole once more,
so that its scores have the same last digits as in an undisturbed run.
"""

import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol, TypeVar

from capfilt.core.errors import UserError

T = TypeVar("T")
BatchRows = tuple[int, ...]

Auto = Literal["auto"]

FIRST: Final = 8
"""Rows of the first batch where the size is "auto"."""
LARGEST: Final = 512
"""Rows of a batch; more bring no speed on any device."""
MOST_POISON: Final = 0.1
"""Maximum share of poison among a chunk's rows. Above it the model is at fault and not the rows: the chunk fails."""
CERTAIN: Final = 2
"""Deaths of the process with this row alone that make it poison; a single one may have been a kill from outside."""


DIED: Final = "the process died with this row, twice"


class Journal(Protocol):
    """What outlives a process: which rows were at work when it died."""

    def begin(self) -> Counter[BatchRows]:
        """Rows that were at work when a process died on this stage of this chunk, and how often."""
        ...

    def enter(self, part: BatchRows) -> None:
        """Note, before work starts, which rows are at work."""
        ...

    def leave(self) -> None:
        """They came through."""
        ...

    def end(self) -> None:
        """The stage is done with the chunk."""
        ...


class NoJournal:
    """For a process that no other process replaces."""

    def begin(self) -> Counter[BatchRows]:
        return Counter()

    def enter(self, part: BatchRows) -> None:
        pass

    def leave(self) -> None:
        pass

    def end(self) -> None:
        pass


class MicroBatches:
    """Runs work over the rows of a chunk in batches of at most `size`, which it remembers from chunk to chunk.

    Of size "auto" it starts with `FIRST` and doubles after each whole batch, up to `LARGEST`, until memory runs out.
    """

    def __init__(self, size: int | Auto, journal: Journal | None = None) -> None:
        self.grows = size == "auto"
        self.size = FIRST if size == "auto" else size
        self.journal: Journal = journal or NoJournal()

    def run(
        self, positions: Sequence[int], work: Callable[[BatchRows], Sequence[T]]
    ) -> tuple[dict[int, T], dict[int, str]]:
        """Results and poison, by position.

        Args:
            work: gives one result a position.

        Raises:
            Exception: what `work` raised, if more than `MOST_POISON` of the rows (and more than one) raise alone.
        """
        deaths = self.journal.begin()
        try:
            done = self._run(positions, work, deaths)
        except Exception:
            self.journal.end()
            raise
        self.journal.end()  # not reached by what ends the process
        return done

    def _run(
        self, positions: Sequence[int], work: Callable[[BatchRows], Sequence[T]], deaths: Counter[BatchRows]
    ) -> tuple[dict[int, T], dict[int, str]]:
        results: dict[int, T] = {}
        poison: dict[int, str] = {}
        split: list[BatchRows] = []
        most = max(1, round(len(positions) * MOST_POISON))
        todo = deque(self._cut(positions))
        while todo:
            part = todo.popleft()
            # One death is enough to halve, perhaps of a kill from outside: `_join` then runs the batch whole.
            if deaths[part] and len(part) > 1:
                split.append(part)
                todo.extendleft(reversed(halves(part)))
            elif deaths[part] >= CERTAIN:
                poison[part[0]] = DIED
            elif (first := self._try(part, work, results)) and (error := self._try(part, work, results)):
                if is_out_of_memory(first) and is_out_of_memory(error) and len(part) > 1:
                    self.grows = False
                    self.size = max(1, len(part) // 2)
                    todo = deque(self._cut([*part, *(row for later in todo for row in later)]))
                elif len(part) > 1:
                    split.append(part)
                    todo.extendleft(reversed(halves(part)))
                else:
                    poison[part[0]] = f"{type(error).__name__}: {error}".splitlines()[0]
                if len(poison) > most:
                    raise error
            elif self.grows and len(part) == self.size < LARGEST:
                self.size *= 2
                todo = deque(self._cut([row for later in todo for row in later]))
        # What the process died of when it was run whole once more: the results of its halves stay.
        deadly = (row for part in split if deaths[part] >= CERTAIN for row in part)
        self._join(split, work, results, {*poison, *deadly})
        return results, poison

    def _join(
        self,
        split: Sequence[BatchRows],
        work: Callable[[BatchRows], Sequence[T]],
        results: dict[int, T],
        done: set[int],
    ) -> None:
        """Run batches that were halved without a bad row whole once more: scores then have the usual last digits.

        Only the largest ones, because they contain the others, and none with rows that are `done`. Where it fails
        again, the results of the halves stay.
        """
        for part in split:
            if not done & set(part):
                self._try(part, work, results)
                done |= set(part)

    def _cut(self, positions: Sequence[int]) -> list[BatchRows]:
        return [tuple(positions[start : start + self.size]) for start in range(0, len(positions), self.size)]

    def _try(
        self, part: BatchRows, work: Callable[[BatchRows], Sequence[T]], results: dict[int, T]
    ) -> Exception | None:
        self.journal.enter(part)
        failed: Exception | None = None
        try:
            results |= dict(zip(part, work(part), strict=True))
        except UserError:  # of a model or a server, which no other batch would mend
            raise
        except Exception as error:  # whatever it was, it is judged by what smaller batches do
            failed = error
        self.journal.leave()
        return failed


class AroundDeaths(MicroBatches):
    """Work that is halved only where a process dies of it, and done in one piece as long as none has.

    For stages whose errors are no row's: what their work raises ends the stage.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        super().__init__(sys.maxsize, journal)

    def _try(
        self, part: BatchRows, work: Callable[[BatchRows], Sequence[T]], results: dict[int, T]
    ) -> Exception | None:
        self.journal.enter(part)
        results |= dict(zip(part, work(part), strict=True))
        self.journal.leave()
        return None

    def _join(self, *_: object) -> None:
        """Nothing is left to do: no result depends on what else was in its piece."""


def halves(part: BatchRows) -> tuple[BatchRows, BatchRows]:
    """The two halves of a batch of more than one row."""
    middle = (len(part) + 1) // 2
    return part[:middle], part[middle:]


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on the device or on the host.

    By name and words, for there is no torch here: `torch.OutOfMemoryError`, and a RuntimeError from other backends.
    """
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error)
