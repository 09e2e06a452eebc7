"""Nucleus sampling, one random stream a caption.

A caption depends on the image, the weights and its own seed, never on its neighbors: every caption draws its uniform
numbers from a counter-based generator (Philox) of its own, one number a token.

Dimensions: B images, n captions an image, R = B * n rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from capfilt.models.med.cache import KeysValues, SelfCache
from capfilt.models.med.model import MED
from capfilt.models.protocols import Decoding

TOP_K: Final = 256
"""Tokens that are put in order first; a nucleus that needs more of them is rare, and the whole vocabulary is slow."""
SHRINK_BELOW: Final = 0.75
"""Rows that are done are left out of the batch once this share of it, or less, would remain."""
SYNC_EVERY: Final = 4
"""Steps between two looks at which rows are done, where a look makes a device wait for the host."""


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
    wide = likeliest.values[:, :-1].sum(-1) < top_p
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


def sample(
    model: MED, image: list[KeysValues], prompt: Sequence[int], stop: int, draws: Tensor, decoding: Decoding
) -> tuple[Tensor, Tensor]:
    """Decode n captions for each of B images.

    Args:
        image: cross-attention keys and values of B images, projected once.
        prompt: ids every caption starts from ([DEC] first); not part of the result.
        stop: id that ends a caption.
        draws: float [R, >= max_tokens], one uniform number a token.

    Returns:
        ids int64 [R, max_tokens], `stop` and 0 after a caption's end; log-probability float32 [R] of each caption
        under the model itself (neither temperature nor nucleus), natural log, summed over its tokens.
    """
    n = len(draws) // image[0].keys.shape[0]
    rows = torch.arange(len(draws), device=draws.device)
    ids = torch.zeros(len(draws), decoding.max_tokens, dtype=torch.int64, device=draws.device)
    logprob = torch.zeros(len(draws), device=draws.device)
    going = torch.ones_like(rows, dtype=torch.bool)
    logits, cache = begin(model, image, torch.tensor(prompt, device=draws.device), n, decoding.max_tokens)
    for step in range(decoding.max_tokens):
        choice, gain = _choose(logits, draws[rows, step], stop, decoding, early=step + 1 < decoding.min_tokens)
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


def begin(model: MED, image: list[KeysValues], prompt: Tensor, n: int, room: int) -> tuple[Tensor, SelfCache]:
    """Read the prompt, int64 [T], once an image, for n captions of each.

    Returns:
        Logits float32 [R, V] of the first token; a cache with room for so many tokens more.
    """
    images = image[0].keys.shape[0]
    cache = model.text.new_cache(images, len(prompt) + room)
    logits = model.vocab_logits(model.text.decode(prompt.expand(images, -1), image, cache)[:, -1]).float()
    if n > 1:
        cache.take(torch.arange(images, device=prompt.device).repeat_interleave(n))
    return logits.repeat_interleave(n, 0), cache


def _unfinished(going: Tensor, images: Tensor, most: int) -> Tensor:
    """Rows of going [B, n] to continue with: of each of these images the `most` first that are not done, filled up."""
    order = going[images].sort(dim=1, descending=True, stable=True).indices[:, :most]
    return (images[:, None] * going.shape[1] + order).flatten()


def _choose(logits: Tensor, draws: Tensor, stop: int, decoding: Decoding, early: bool) -> tuple[Tensor, Tensor]:
    log_probabilities = logits.log_softmax(-1)
    if early:
        logits[:, stop] = float("-inf")
    choice = nucleus(logits / decoding.temperature, draws, decoding.top_p)
    return choice, log_probabilities.gather(-1, choice[:, None])[:, 0]
