"""Nucleus sampling, one random stream a caption.

A caption depends on the image, the weights and its own seed, never on its neighbors: every caption draws its uniform
numbers from a counter-based generator (Philox) of its own, one number a token.

Dimensions: B images, n captions an image, R = B * n rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

from capfilt.models.med.cache import KeysValues, SelfCache
from capfilt.models.med.text import TextTransformer
from capfilt.models.protocols import Decoding

TOP_K: Final = 256
"""Tokens that are put in order first; a nucleus that needs more of them is rare, and the whole vocabulary is slow."""
SHRINK_BELOW: Final = 0.75
"""Rows that are done are left out of the batch once this share of it, or less, would remain: to leave some out, the
caches of all others are copied."""
SYNC_EVERY: Final = 4
"""Steps between two looks at which rows are done, where a look makes a device wait for the host."""


class TokenWriter(Protocol):
    """What writes a token at a time: a MED, or the answer decoder of VQA."""

    @property
    def text(self) -> TextTransformer: ...

    def vocab_logits(self, states: Tensor) -> Tensor:
        """Decoder states [..., D] -> logits [..., V]."""
        ...


# On the CPU even for a GPU: the captions of one recipe are then drawn from the same numbers on every device.
def uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """float32 [len(seeds), count] in [0, 1): row i is the stream of seeds[i], whatever the other seeds are."""
    # numpy's Philox takes the seed as its key, so that a row's numbers do not depend on its neighbors.
    rows = [np.random.Generator(np.random.Philox(key=seed)).random(count, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, count)


def nucleus(logits: Tensor, draws: Tensor, top_p: float) -> Tensor:
    """Draw one token a row from the smallest set of likeliest tokens whose mass reaches top_p.

    Args:
        logits: float [R, V].
        draws: float [R], uniform in [0, 1).

    Returns:
        int64 [R]. The likeliest token is always in the set, so top_p near 0 is greedy decoding.
    """
    # Only rows whose nucleus needs more than TOP_K tokens pay for a sort of the whole vocabulary.
    mass = logits.softmax(-1)
    tokens, wide = nucleus_of_top_k(mass, draws, top_p)
    rows = wide.nonzero()[:, 0]
    if len(rows):
        tokens[rows] = _draw(*mass[rows].sort(-1, descending=True), draws[rows], top_p)
    return tokens


def nucleus_of_top_k(mass: Tensor, draws: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """`nucleus` of probabilities [R, V] as if it lay in the likeliest tokens, and where, bool [R], it may not."""
    likeliest = mass.topk(min(TOP_K, mass.shape[-1]))
    tokens = _draw(*likeliest, draws, top_p)
    # Where even the last of them belongs to the nucleus there may be more. Elsewhere all sums are those of the whole.
    wide = (likeliest.values[:, :-1].sum(-1) < top_p) & (likeliest.values[:, -1] > 0)
    return tokens, wide & (mass.shape[-1] > TOP_K)


def _draw(mass: Tensor, tokens: Tensor, draws: Tensor, top_p: float) -> Tensor:
    """Of tokens [R, k], likeliest first, the one where the draw falls."""
    upto = mass.cumsum(-1)
    inside = mass.masked_fill(upto - mass >= top_p, 0)
    reached = inside.cumsum(-1)
    place = torch.searchsorted(reached, (draws * reached[:, -1])[:, None], right=True)
    # searchsorted may run past the end where float sums fall short of the draw; `last` is the last token inside.
    last = inside.gt(0).sum(-1, keepdim=True) - 1
    return tokens.gather(-1, torch.minimum(place, last))[:, 0]


def penalize(scores: Tensor, said: Tensor, penalty: float) -> Tensor:
    """Logits or log-probabilities [R, V], those of the tokens said [R, T] made less likely.

    As `RepetitionPenaltyLogitsProcessor` of `transformers` (CTRL, Keskar et al. 2019, section 4.1).
    """
    if penalty == 1.0:
        return scores
    own = scores.gather(1, said)
    return scores.scatter(1, said, torch.where(own < 0, own * penalty, own / penalty))


def warp(logits: Tensor, said: Tensor, decoding: Decoding) -> Tensor:
    """Logits [R, V] as they are drawn from: penalty on tokens said [R, T], temperature, top k, in this order.

    It is the order of `generate` in `transformers`; equal logits at the k-th place all stay, as there.
    """
    logits = penalize(logits, said, decoding.repetition_penalty) / decoding.temperature
    if 0 < decoding.top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(decoding.top_k).values[:, -1:], float("-inf"))
    return logits


def sample(
    model: TokenWriter, image: list[KeysValues], prompt: Sequence[int], stop: int, draws: Tensor, decoding: Decoding
) -> tuple[Tensor, Tensor]:
    """Decode n captions for each of B images.

    Args:
        image: cross-attention keys and values of B images, projected once.
        prompt: ids every caption starts from ([DEC] first); not part of the result.
        stop: id that ends a caption.
        draws: float [R, >= max_tokens], one uniform number a token.

    Returns:
        ids int64 [R, max_tokens], `stop` and 0 after a caption's end; log-probability float32 [R] of each caption
        under the model itself (before `warp` and nucleus), natural log, summed over its tokens.
    """
    n = len(draws) // image[0].keys.shape[0]
    rows = torch.arange(len(draws), device=draws.device)
    ids = torch.zeros(len(draws), decoding.max_tokens, dtype=torch.int64, device=draws.device)
    logprob = torch.zeros(len(draws), device=draws.device)
    going = torch.ones_like(rows, dtype=torch.bool)
    given = torch.tensor(prompt, device=draws.device)
    logits, cache = begin(model, image, given, n, decoding.max_tokens)
    for step in range(decoding.max_tokens):
        said = torch.cat((given.expand(len(rows), -1), ids[rows, :step]), dim=1)
        # Before the lines that follow change the logits: the log-probability is the model's own.
        own = logits.log_softmax(-1)
        if step + 1 < decoding.min_tokens:
            logits[:, stop] = float("-inf")
        choice = nucleus(warp(logits, said, decoding), draws[rows, step], decoding.top_p)
        gain = own.gather(-1, choice[:, None])[:, 0]
        ids[rows, step] = torch.where(going, choice, 0)
        logprob[rows] += torch.where(going, gain, 0.0)
        going &= choice != stop
        if step + 1 == decoding.max_tokens:
            break
        # On CUDA to look is to wait: there the host asks every few steps only, on a CPU looking is free.
        if going.device.type == "cpu" or step % SYNC_EVERY == SYNC_EVERY - 1:
            left = going.view(-1, n).sum(1)
            most, images = int(left.max()), left.nonzero()[:, 0]
            if not most:
                break
            if len(images) * most <= SHRINK_BELOW * len(going):
                still = _unfinished(going.view(-1, n), images, most)
                rows, choice, going, n = rows[still], choice[still], going[still], most
                cache.take(still)
                image = [KeysValues(kv.keys[images], kv.values[images]) for kv in image]
        logits = model.vocab_logits(model.text.decode(choice[:, None], image, cache)[:, 0]).float()
    return ids, logprob


def begin(model: TokenWriter, image: list[KeysValues], prompt: Tensor, n: int, room: int) -> tuple[Tensor, SelfCache]:
    """Read the prompt, int64 [T], once an image, for n captions of each.

    Returns:
        Logits float32 [R, V] of the first token; a cache with room for so many tokens more.
    """
    images = image[0].keys.shape[0]
    cache = model.text.new_cache(images, len(prompt) + room)
    # float32 whatever the weights are: in bfloat16 the mass of many tokens would round away in the sums of a nucleus.
    logits = model.vocab_logits(model.text.decode(prompt.expand(images, -1), image, cache)[:, -1]).float()
    if n > 1:
        cache.take(torch.arange(images, device=prompt.device).repeat_interleave(n))
    return logits.repeat_interleave(n, 0), cache


def _unfinished(going: Tensor, images: Tensor, most: int) -> Tensor:
    """Rows of going [B, n] to continue with: of each of these images the `most` first that are not done, filled up."""
    order = going[images].sort(dim=1, descending=True, stable=True).indices[:, :most]
    return (images[:, None] * going.shape[1] + order).flatten()
