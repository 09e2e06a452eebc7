"""Which image and which of its texts a step learns from: a sampler that knows where texts come from.

It draws numbers only, no pixels: so every worker of a training runs the same one, and takes its own part. Where it
stands in the data is a string; a sampler that is told to go there draws what the first one would have drawn next.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

SOURCES: Final = ("web", "synthetic", "human")
BLOCK: Final = 64
"""Neighboring images that stay together where only a window is shuffled: a row group of corpus/ has as many."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How images and texts are drawn."""

    share: Mapping[str, float] = field(default_factory=dict)  # of a batch, by source; empty = every image alike
    temperature: float = 0.0  # texts of an image drawn by softmax(score / temperature); 0 = all alike
    unit: Literal["image", "text"] = "image"  # seen once an epoch: every image with one of its texts, or every text
    window: int = 0  # images (texts) shuffled together; 0 = all
    marked: int = 0  # texts marked as wrong that go along with every image


@dataclass(frozen=True, slots=True)
class Texts:
    """M texts of N images, flat: those of image i have the numbers starts[i] to starts[i + 1] - 1."""

    starts: Numbers  # [N + 1]
    sources: NDArray[np.int8]  # [M], places in SOURCES
    scores: NDArray[np.float32]  # [M], nan = not scored, which counts as the image's best

    def count(self, source: int | None = None) -> int:
        return int(self.starts[-1]) if source is None else int((self.sources == source).sum())


@dataclass(frozen=True, slots=True)
class Draw:
    """What a step learns from: numbers of images [B], of their texts [B], and of texts marked as wrong."""

    step: int
    pictures: Numbers
    texts: Numbers
    wrong: list[list[int]]
    position: str  # of the sampler after this draw


class Sampler:
    """Draws for ever: every image of a source once an epoch, in a new order, one of its texts each time.

    Where the unit is a text, every text once with its image (BLIP's code): an image of five texts comes five times, and
    texts that are added make epochs longer.

    Args:
        wrong: [N + 1], where the texts marked as wrong of each image start, like `Texts.starts`.
        size: images a batch.
    """

    def __init__(self, texts: Texts, wrong: Numbers, sampling: Sampling, size: int, seed: int) -> None:
        self.texts, self.wrong, self.sampling, self.size = texts, wrong, sampling, size
        wanted = [(SOURCES.index(source), share) for source, share in sampling.share.items() if share > 0]
        self.shares = [share / sum(share for _, share in wanted) for _, share in wanted]
        chosen: Sequence[int | None] = [source for source, _ in wanted] or [None]
        self.streams = [_Stream(texts, source, sampling, (seed, k) if k else seed) for k, source in enumerate(chosen)]
        self.mix = np.random.default_rng((seed, len(SOURCES)))
        self.step = 0

    @property
    def epoch(self) -> int:
        """Steps in which about every image, or every text, was seen once."""
        by_text = self.sampling.unit == "text"
        return max(1, (self.texts.count() if by_text else len(self.texts.starts) - 1) // self.size)

    def __iter__(self) -> Iterator[Draw]:
        while True:
            parts = self.mix.multinomial(self.size, self.shares) if self.shares else [self.size]
            taken = [stream.take(int(n)) for stream, n in zip(self.streams, parts, strict=True)]
            pictures, texts = (np.concatenate([pair[side] for pair in taken]) for side in (0, 1))
            wrong = self._marked(pictures)
            self.step += 1
            yield Draw(self.step - 1, pictures, texts, wrong, self.position)

    def _marked(self, pictures: Numbers) -> list[list[int]]:
        rng, most = self.streams[0].rng, self.sampling.marked
        firsts, ends = self.wrong[pictures].tolist(), self.wrong[pictures + 1].tolist()
        return [[a + int(k) for k in rng.permutation(b - a)[:most]] for a, b in zip(firsts, ends, strict=True)]

    @property
    def position(self) -> str:
        """Where the sampler stands, JSON."""
        streams = [stream.position for stream in self.streams]
        return json.dumps({"step": self.step, "mix": self.mix.bit_generator.state, "streams": streams})

    def go_to(self, position: str) -> None:
        """Stand where another sampler of the same settings stood."""
        found = json.loads(position)
        self.step, self.mix.bit_generator.state = found["step"], found["mix"]
        for stream, own in zip(self.streams, found["streams"], strict=True):
            stream.go_to(own)

    def about(self) -> list[str]:
        """What is drawn, in words, for the log."""
        count = {name: self.texts.count(number) for number, name in enumerate(SOURCES)}
        said = ", ".join(f"{n} {name}" for name, n in count.items() if n)
        lines = [f"{len(self.texts.starts) - 1} images with {self.texts.count()} texts: {said}"]
        shared = zip([s for s, share in self.sampling.share.items() if share > 0], self.shares, strict=True)
        of = ", ".join(f"{100 * share:.1f} % {name}" for name, share in shared)
        if self.sampling.unit == "text":
            return [*lines, f"a batch of {self.size}: {of or 'every text alike'}, with its picture"]
        how = f"softmax(score / {self.sampling.temperature:g})" if self.sampling.temperature else "chance"
        return [*lines, f"a batch of {self.size}: {of or 'every image alike'}; one text per image, drawn by {how}"]


class _Stream:
    """The images that have a text of a source, epoch after epoch."""

    def __init__(self, texts: Texts, source: int | None, sampling: Sampling, seed: int | tuple[int, int]) -> None:
        mine = np.flatnonzero(texts.sources == source) if source is not None else np.arange(texts.count())
        owner = np.searchsorted(texts.starts, mine, side="right") - 1
        self.pictures, firsts = (
            (owner, np.arange(len(mine))) if sampling.unit == "text" else np.unique(owner, return_index=True)
        )
        self.texts, self.starts = mine, np.append(firsts, len(mine))
        self.weights = _weights(texts.scores[mine], self.starts, sampling.temperature) if sampling.temperature else None
        self.window = sampling.window
        self.rng = np.random.default_rng(seed)
        self.begun = self.rng.bit_generator.state
        self.order = np.empty(0, np.int64)
        self.place = 0

    def take(self, count: int) -> tuple[Numbers, Numbers]:
        """`count` images and a text of each; a stream smaller than that gives some twice."""
        parts = [np.empty(0, np.int64)]
        while (left := count - sum(map(len, parts))) > 0:
            width = min(left, len(self.pictures))
            # What is left of an epoch and too little for this draw is dropped, as loaders do with their last batch.
            if self.place + width > len(self.order):
                self._begin()
            parts.append(self.order[self.place : self.place + width])
            self.place += width
        members = np.concatenate(parts)
        texts = np.array([self._text(int(member)) for member in members], np.int64)
        return self.pictures[members], texts

    def _begin(self) -> None:
        """A new epoch in a new order."""
        self.begun, self.place = self.rng.bit_generator.state, 0
        count = len(self.pictures)
        if not 0 < self.window < count:
            self.order = self.rng.permutation(count)
            return
        blocks = np.array_split(np.arange(count), -(-count // BLOCK))
        mixed = np.concatenate([blocks[k] for k in self.rng.permutation(len(blocks))])
        for start in range(0, count, self.window):
            self.rng.shuffle(mixed[start : start + self.window])
        self.order = mixed

    def _text(self, member: int) -> int:
        first, end = int(self.starts[member]), int(self.starts[member + 1])
        if self.weights is None:
            return int(self.texts[first + self.rng.integers(end - first)])
        reached = np.searchsorted(self.weights[first:end].cumsum(), self.rng.random(), side="right")
        return int(self.texts[first + min(int(reached), end - first - 1)])

    @property
    def position(self) -> dict[str, Any]:
        """The random numbers as the epoch began and as they are, and how many of its images are taken."""
        return {"begun": self.begun, "now": self.rng.bit_generator.state, "place": self.place}

    # The epoch's order is drawn again from the state it began with: a position is a line of JSON, and not a million
    # numbers.
    def go_to(self, position: Mapping[str, Any]) -> None:
        self.rng.bit_generator.state = position["begun"]
        if position["place"]:
            self._begin()
        self.begun, self.place = position["begun"], position["place"]
        self.rng.bit_generator.state = position["now"]


def _weights(scores: NDArray[np.float32], starts: Numbers, temperature: float) -> NDArray[np.float64]:
    """Softmax of the scores of each image over a temperature, flat; a missing score counts as the best of its own."""
    # fmax looks past NaN, which a missing score is.
    best = np.fmax.reduceat(scores.astype(np.float64), starts[:-1])
    own = np.repeat(np.where(np.isnan(best), 0.0, best), np.diff(starts))
    # Less the best one: the largest exponent is 0, and nothing overflows.
    weights = np.exp((np.where(np.isnan(scores), own, scores) - own) / temperature)
    return np.asarray(weights / np.repeat(np.add.reduceat(weights, starts[:-1]), np.diff(starts)))
