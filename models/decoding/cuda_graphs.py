"""Captions on a CUDA device: one step's kernels recorded as a graph, once for a shape, and replayed every step.

A step is some 250 small kernels, which the host takes longer to launch than the device to run. A graph wants tensors
that stay where they are, so captions are written in buffers: keys and values of the images, of the tokens so far (as
long as they may become), and the state of every caption.

Captions end at different lengths, and a row that has ended costs as much as any other. So every few steps the host
looks: rows whose captions have ended take the next ones (`seating`), and when none waits, the rows that are left go on
in a recording of half as many.

Dimensions: B images, n captions an image, R rows, S seats of images, T tokens, N image tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from capfilt.models.decoding.caption_rows import Rows
from capfilt.models.decoding.sampling import SYNC_EVERY, begin, nucleus, nucleus_of_top_k, warp
from capfilt.models.decoding.seating import Seating
from capfilt.models.med.cache import KeysValues, SelfCache
from capfilt.models.med.model import MED
from capfilt.models.med.ragged import Seats
from capfilt.models.protocols import Decoding

# Each holds the keys and values of its images and the memory of its graphs.
KEPT_SHAPES: Final = 4
"""Shapes whose buffers and graphs are kept; a run has one or two, and a few more where a chunk ends."""
ROWS: Final = 640
"""Captions written at once; more wait. By the figures of an H200, from 320 rows on a step's time grows with them."""
FEWEST_ROWS: Final = 32
"""Rows that are not halved any further: the time of a step no longer depends on them."""
SEATED: Final = 1.6
"""Seats for so many times the images whose captions fill all rows: an image sits until its longest caption ends."""


class GraphShape(NamedTuple):
    """What a recording is made for."""

    rows: int
    seats: int
    n: int
    image_tokens: int
    prompt: int  # tokens
    stop: int
    how: Decoding

    @classmethod
    def of(
        cls, image: list[KeysValues], prompt: int, stop: int, captions: int, how: Decoding, rows: int
    ) -> "GraphShape":
        """For so many captions of these images in so many rows at most."""
        images, _, tokens, _ = image[0].keys.shape
        n, whole = captions // images, rounded(images)
        if whole * n <= rows:
            return cls(whole * n, whole, n, tokens, prompt, stop, how)
        seats = min(whole, rounded(int(SEATED * rows / n) + 1))
        return cls(rows, rows if n == 1 else seats, n, tokens, prompt, stop, how)


class GraphSampler:
    """`sampling.sample` by recordings; on another device than CUDA the same steps are taken plainly.

    A nucleus is looked for among the likeliest tokens, without asking the device whether it holds more of them; every
    few steps the host looks, and takes those steps again where it did.
    """

    def __init__(self, model: MED, rows: int = ROWS) -> None:
        self.model, self.rows = model, rows
        self.loops: dict[GraphShape, RecordedLoop] = {}

    @torch.inference_mode()
    def sample(
        self, image: list[KeysValues], prompt: Sequence[int], stop: int, draws: Tensor, decoding: Decoding
    ) -> tuple[Tensor, Tensor]:
        """What `sampling.sample` says of itself.

        Raises:
            torch.OutOfMemoryError: all recordings are given up before.
        """
        shape = GraphShape.of(image, len(prompt), stop, len(draws), decoding, self.rows)
        try:
            loop = self.loops.pop(shape, None) or RecordedLoop(self.model, shape)
            self.loops[shape] = loop  # the latest stands last
            for old in list(self.loops)[:-KEPT_SHAPES]:
                del self.loops[old]
            return loop.write(image, prompt, draws)
        except torch.OutOfMemoryError:
            self.loops.clear()
            raise


def rounded(images: int) -> int:
    """So many images have a recording: up to 8 powers of two, then multiples of 8. What is too many stays empty."""
    return 1 << (images - 1).bit_length() if images <= 8 else -(-images // 8) * 8


class Progress(NamedTuple):
    """A call's images, its captions so far, and who writes what."""

    image: list[KeysValues]
    logits: Tensor  # float32 [B, V], of the first token
    prompt: SelfCache
    draws: Tensor
    ids: Tensor
    logprob: Tensor
    seating: Seating


class RecordedLoop:
    """The buffers of one shape and its recorded steps, one for each number of rows."""

    def __init__(self, model: MED, shape: GraphShape) -> None:
        self.model, self.shape = model, shape
        like, config, how = model.text.word.weight, model.config, shape.how
        rows, width = shape.rows, config.text_width // config.text_heads
        room = (shape.seats, config.text_heads, shape.image_tokens, width)
        self.image = [KeysValues(like.new_zeros(room), like.new_zeros(room)) for _ in range(config.text_layers)]
        ids = torch.zeros(rows, how.max_tokens + 1, dtype=torch.int64, device=like.device)
        numbers = torch.zeros(rows, how.max_tokens + 1, device=like.device)
        going = torch.zeros(rows, dtype=torch.bool, device=like.device)
        self.rows = Rows(
            ids=ids,
            draws=numbers,
            logits=numbers.new_zeros(rows, config.vocab_size),
            logprob=numbers.new_zeros(rows),
            step=ids.new_zeros(rows),
            going=going,
            cell=ids.new_zeros(rows),
            cache=model.text.new_fixed_cache(rows, shape.prompt + how.max_tokens - 1),
        )
        self.owner, self.wide = ids.new_zeros(shape.seats * shape.n), going.new_zeros(())
        self.prompt = ids.new_zeros(shape.prompt)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}  # by number of rows

    def write(self, image: list[KeysValues], prompt: Sequence[int], draws: Tensor) -> tuple[Tensor, Tensor]:
        """Captions of so many images as there are; ids [B * n, max_tokens] and log-probabilities [B * n]."""
        self.prompt.copy_(torch.tensor(prompt))
        call, size = self._begin(image, draws), self.shape.rows
        self._admit(call)
        while busy := call.seating.busy():
            if not call.seating.waiting and (fewer := _halved(size, len(busy))) < size:
                self._pack(call, busy)
                size = fewer
            self._take_steps(size)
            going = self.rows.going.tolist()
            if ended := [row for row in call.seating.busy() if not going[row]]:
                self._end(call, ended)
                self._admit(call)
        return call.ids, call.logprob

    def _begin(self, image: list[KeysValues], draws: Tensor) -> Progress:
        logits, prompt = begin(self.model, image, self.prompt, 1, 0)
        shape = self.shape
        self.rows.going.zero_()
        ids = self.rows.ids.new_zeros(len(draws), shape.how.max_tokens)
        seating = Seating(len(logits), shape.n, shape.rows, shape.seats)
        return Progress(image, logits, prompt, draws, ids, self.rows.logprob.new_zeros(len(draws)), seating)

    def _admit(self, call: Progress) -> None:
        """Let captions that wait begin in the free rows."""
        arrivals = call.seating.admit()
        if arrivals.images:
            seats, images = self._indices(arrivals.images), self._indices(arrivals.images.values())
            for mine, given in zip(self.image, call.image, strict=True):
                mine.keys[seats] = given.keys[images]
                mine.values[seats] = given.values[images]
        if arrivals.captions:
            rows, captions = self._indices(arrivals.captions), self._indices(arrivals.captions.values())
            owners = captions // self.shape.n
            self.rows.start(rows, call.draws[captions, : self.shape.how.max_tokens], call.logits[owners])
            self.rows.cache.start(rows, call.prompt, owners)
            self._seat(call.seating)

    def _end(self, call: Progress, rows: Sequence[int]) -> None:
        """Keep what was written in these rows."""
        captions = self._indices(call.seating.caption[row] for row in rows)
        ended = self._indices(rows)
        call.ids[captions] = self.rows.ids[ended, :-1]
        call.logprob[captions] = self.rows.logprob[ended]
        call.seating.end(rows)

    def _pack(self, call: Progress, busy: Sequence[int]) -> None:
        self.rows.move(self._indices(busy))
        call.seating.move(busy)
        self._seat(call.seating)

    def _seat(self, seating: Seating) -> None:
        cells, busy = seating.cells(), seating.busy()
        self.rows.cell[: len(cells)] = self._indices(cells)
        self.owner.zero_()
        self.owner[self._indices(cells[row] for row in busy)] = self._indices(busy)

    def _take_steps(self, size: int) -> list[bool]:
        """Some steps of the first rows; whether each still goes on."""
        rows = self.rows.first(size)
        before = [tensor.clone() for tensor in rows.state()]
        if size not in self.graphs and self.owner.is_cuda:
            # After the buffers are filled: the warm-up before a capture runs on them for real, and is put back.
            self.graphs[size] = _recorded(lambda: self._take_step(rows))
            _put_back(rows, before)
        self.wide.zero_()
        for _ in range(SYNC_EVERY):
            self._play(rows)
        *going, wide = torch.cat((rows.going, self.wide[None])).tolist()
        if not wide:
            return going
        self._take_again(rows, before)
        again: list[bool] = rows.going.tolist()
        return again

    def _play(self, rows: Rows) -> None:
        if graph := self.graphs.get(len(rows.step)):
            graph.replay()
        else:
            self._take_step(rows)

    def _take_again(self, rows: Rows, before: list[Tensor]) -> None:
        _put_back(rows, before)
        for _ in range(SYNC_EVERY):
            self._take_step(rows, exactly=True)

    def _take_step(self, rows: Rows, exactly: bool = False) -> None:
        token = self._choose(rows, exactly)
        seats = Seats(rows.cell, self.owner, self.shape.n)
        states = self.model.text.decode(token[:, None], self.image, rows.cache, seats)
        rows.logits.copy_(self.model.vocab_logits(states[:, 0]))

    def _choose(self, rows: Rows, exactly: bool) -> Tensor:
        """Draw a token of every caption that is unfinished, and note it; without `exactly` the host need not wait."""
        how, stop, going = self.shape.how, self.shape.stop, rows.going
        own = rows.logits.log_softmax(-1)  # of the words as they are: `early` and `warp` change what is drawn alone
        early = rows.step + 1 < how.min_tokens
        rows.logits[:, stop].masked_fill_(early, float("-inf"))
        draws = rows.draws.gather(1, rows.step[:, None])[:, 0]
        logits = warp(rows.logits, self._said(rows) if how.repetition_penalty != 1 else rows.ids, how)
        if exactly:
            choice = nucleus(logits, draws, how.top_p)
        else:
            choice, wide = nucleus_of_top_k(logits.softmax(-1), draws, how.top_p)
            self.wide |= (wide & going).any()
        # By tensors, not ids[:, step]: a number of the host would be frozen into the recording.
        rows.ids.scatter_(1, rows.step[:, None], torch.where(going, choice, 0)[:, None])
        rows.logprob += torch.where(going, own.gather(-1, choice[:, None])[:, 0], 0.0)
        rows.step += going
        going &= (choice != stop) & (rows.step < how.max_tokens)
        return choice

    def _said(self, rows: Rows) -> Tensor:
        """Ids of the prompt and of the tokens so far, [R, P + T + 1]; where none is yet stands the prompt's first."""
        future = torch.arange(rows.ids.shape[1], device=rows.ids.device) >= rows.step[:, None]
        written = torch.where(future, self.prompt[0], rows.ids)
        return torch.cat((self.prompt.expand(len(written), -1), written), dim=1)

    def _indices(self, numbers: Iterable[int]) -> Tensor:
        return torch.tensor(list(numbers), dtype=torch.int64, device=self.owner.device)


def _halved(rows: int, busy: int) -> int:
    """Rows halved as often as the busy ones still fit."""
    while rows // 2 >= max(busy, FEWEST_ROWS):
        rows //= 2
    return rows


def _put_back(rows: Rows, before: list[Tensor]) -> None:
    for tensor, old in zip(rows.state(), before, strict=True):
        tensor.copy_(old)


def _recorded(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    work()  # once without: libraries take their memory at first use
    # thread_local: with the global mode a cudaMalloc by any other thread of the process ends the capture.
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph
