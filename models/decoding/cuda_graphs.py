"""Captions on a CUDA device: one step's kernels recorded as a graph, once for a shape, and replayed every step.

A step is some 250 small kernels, which the host takes longer to launch than the device to run. A graph wants tensors
that stay where they are, so captions are written in buffers: keys and values of the images, of the tokens so far (as
long as they may become), and the state of every caption.

Dimensions: B images, n captions an image, R = B * n rows, T tokens, N image tokens, D width.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from capfilt.models.decoding.sampling import SYNC_EVERY, begin, nucleus, nucleus_of_top_k, warp
from capfilt.models.med.cache import KeysValues
from capfilt.models.med.model import MED
from capfilt.models.protocols import Decoding

# Each holds the keys and values of its images and the memory of its graph.
KEPT_SHAPES: Final = 4
"""Shapes whose buffers and graphs are kept; a run has one or two, and a few more where a chunk ends."""


class GraphShape(NamedTuple):
    """What a recording is made for."""

    images: int
    n: int
    image_tokens: int
    prompt: int  # tokens
    stop: int
    how: Decoding


class GraphSampler:
    """`sampling.sample` by recordings; on another device than CUDA the same steps are taken plainly.

    A nucleus is looked for among the likeliest tokens, without asking the device whether it holds more of them; every
    few steps the host looks, and takes those steps again where it did.
    """

    def __init__(self, model: MED) -> None:
        self.model = model
        self.loops: dict[GraphShape, RecordedLoop] = {}

    @torch.inference_mode()
    def sample(
        self, image: list[KeysValues], prompt: Sequence[int], stop: int, draws: Tensor, decoding: Decoding
    ) -> tuple[Tensor, Tensor]:
        """What `sampling.sample` says of itself.

        Raises:
            torch.OutOfMemoryError: all recordings are given up before.
        """
        images, _, tokens, _ = image[0].keys.shape
        shape = GraphShape(rounded(images), len(draws) // images, tokens, len(prompt), stop, decoding)
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


class RecordedLoop:
    """The buffers of one shape and the recorded step."""

    def __init__(self, model: MED, shape: GraphShape) -> None:
        self.model, self.shape = model, shape
        like, config, how = model.text.word.weight, model.config, shape.how
        rows, width = shape.images * shape.n, config.text_width // config.text_heads
        room = (shape.images, config.text_heads, shape.image_tokens, width)
        self.image = [KeysValues(like.new_zeros(room), like.new_zeros(room)) for _ in range(config.text_layers)]
        self.cache = model.text.new_fixed_cache(rows, shape.prompt + how.max_tokens)
        self.ids = torch.zeros(rows, how.max_tokens, dtype=torch.int64, device=like.device)
        self.token, self.step = self.ids.new_zeros(rows, 1), self.ids.new_zeros(1)
        self.prompt = self.ids.new_zeros(shape.prompt)
        self.logprob = torch.zeros(rows, device=like.device)
        self.draws = torch.zeros(rows, how.max_tokens, device=like.device)
        self.real = torch.zeros(rows, dtype=torch.bool, device=like.device)
        self.going, self.wide = torch.zeros_like(self.real), self.real.new_zeros(())
        self.graphs: list[torch.cuda.CUDAGraph] = []  # of opening, and of a step

    def write(self, image: list[KeysValues], prompt: Sequence[int], draws: Tensor) -> tuple[Tensor, Tensor]:
        """Captions of so many images as there are; ids [R, max_tokens] and log-probabilities [R]."""
        self._fill(image, prompt, draws)
        if not self.graphs and draws.device.type == "cuda":
            # Recorded after the buffers are filled: the warm-up before a capture runs on them for real.
            self.graphs = [_recorded(self._open), _recorded(self._take_step)]
        rows, done, last = len(draws), 0, self.shape.how.max_tokens
        while done < last:
            steps, before = range(done, min(done + SYNC_EVERY, last)), [tensor.clone() for tensor in self._state()]
            for step in steps:
                self._play(step)
            going, wide = torch.stack((self.going.any(), self.wide)).tolist()
            if wide:
                self._take_again(before, steps)
                going = bool(self.going.any())
            if not going:
                break
            done = steps.stop
        return self.ids[:rows].clone(), self.logprob[:rows].clone()

    def _fill(self, image: list[KeysValues], prompt: Sequence[int], draws: Tensor) -> None:
        images, rows = len(image[0].keys), len(draws)
        for mine, given in zip(self.image, image, strict=True):
            mine.keys[:images].copy_(given.keys)
            mine.values[:images].copy_(given.values)
        self.prompt.copy_(torch.tensor(prompt))
        self.draws[:rows] = draws[:, : self.draws.shape[1]]
        self.real.zero_()[:rows] = True

    def _play(self, step: int, exactly: bool = False) -> None:
        if self.graphs and not exactly:
            self.graphs[step > 0].replay()
        elif step:
            self._take_step(exactly)
        else:
            self._open(exactly)

    def _open(self, exactly: bool = False) -> None:
        """Read the prompt and draw the first token of each caption."""
        logits, cache = begin(self.model, self.image, self.prompt, 1, 0)
        self.cache.start(cache, self.shape.n)
        for tensor in (self.ids, self.logprob, self.step, self.wide):
            tensor.zero_()
        self.going.copy_(self.real)
        self._choose(logits[:, None].expand(-1, self.shape.n, -1).contiguous().flatten(0, 1), exactly)

    def _take_step(self, exactly: bool = False) -> None:
        states = self.model.text.decode(self.token, self.image, self.cache)
        self._choose(self.model.vocab_logits(states[:, 0]).float(), exactly)

    def _choose(self, logits: Tensor, exactly: bool) -> None:
        """Draw a token of every caption that is unfinished, and note it; without `exactly` the host need not wait."""
        how, stop = self.shape.how, self.shape.stop
        own = logits.log_softmax(-1)  # of the words as they are: `early` and `warp` change what is drawn alone
        early = self.step + 1 < how.min_tokens
        logits[:, stop].masked_fill_(early, float("-inf"))
        draws = self.draws.index_select(1, self.step)[:, 0]
        logits = warp(logits, self._said() if how.repetition_penalty != 1 else self.ids, how)
        if exactly:
            choice = nucleus(logits, draws, how.top_p)
        else:
            choice, wide = nucleus_of_top_k(logits.softmax(-1), draws, how.top_p)
            self.wide |= (wide & self.going).any()
        # index_copy_ by a tensor, not ids[:, step]: a number of the host would be frozen into the recording.
        self.ids.index_copy_(1, self.step, torch.where(self.going, choice, 0)[:, None])
        self.logprob += torch.where(self.going, own.gather(-1, choice[:, None])[:, 0], 0.0)
        self.going &= choice != stop
        self.token.copy_(choice[:, None])
        self.step += 1

    def _said(self) -> Tensor:
        """Ids of the prompt and of the tokens so far, [R, P + T]; where none is yet stands the prompt's first."""
        future = torch.arange(self.ids.shape[1], device=self.ids.device) >= self.step
        written = torch.where(future, self.prompt[0], self.ids)
        return torch.cat((self.prompt.expand(len(written), -1), written), dim=1)

    def _take_again(self, before: list[Tensor], steps: range) -> None:
        for tensor, old in zip(self._state(), before, strict=True):
            tensor.copy_(old)
        for step in steps:
            self._play(step, exactly=True)

    def _state(self) -> tuple[Tensor, ...]:
        """What steps change, but for keys and values, which are rewritten."""
        return self.ids, self.logprob, self.going, self.token, self.step, self.wide, self.cache.place


def _recorded(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    work()  # once without: libraries take their memory at first use
    # thread_local: with the global mode a cudaMalloc by any other thread of the process ends the capture.
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph
