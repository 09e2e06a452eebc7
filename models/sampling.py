"""Nucleus sampling, one random stream a caption.

A caption depends on the image, the weights and its own seed, never on its neighbours: every caption draws its uniform
numbers from a counter-based generator (Philox) of its own, one number a token.

Dimensions: B images, n captions an image, R = B * n rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from capfilt.models.med.model import MED
from capfilt.models.med.text import KeysValues


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How captions are drawn. Lengths count the tokens after the prompt, the closing [SEP] included."""

    top_p: float = 0.9
    temperature: float = 1.0
    max_tokens: int = 30
    min_tokens: int = 5


def uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """float32 [len(seeds), count] in [0, 1): row i is the stream of seeds[i], whatever the other seeds are."""
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
    mass, tokens = logits.softmax(-1).sort(-1, descending=True)
    upto = mass.cumsum(-1)
    inside = mass.masked_fill(upto - mass >= top_p, 0)
    reached = inside.cumsum(-1)
    place = torch.searchsorted(reached, (draws * reached[:, -1])[:, None], right=True)
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
    rows = torch.arange(len(draws), device=draws.device)
    ids = torch.zeros(len(draws), decoding.max_tokens, dtype=torch.int64, device=draws.device)
    logprob = torch.zeros(len(draws), device=draws.device)
    per_image = len(draws) // image[0].keys.shape[0]
    cache = model.text.new_cache(len(draws), len(prompt) + decoding.max_tokens)
    states = model.text.decode(torch.tensor([prompt], device=draws.device).expand(len(draws), -1), image, cache)
    going = torch.ones_like(rows, dtype=torch.bool)
    for step in range(decoding.max_tokens):
        logits = model.words(states[:, -1]).float()
        choice, gain = _choose(logits, draws[rows, step], stop, decoding, early=step + 1 < decoding.min_tokens)
        ids[rows, step] = torch.where(going, choice, 0)
        logprob[rows] += torch.where(going, gain, 0.0)
        going &= choice != stop
        keep = going.view(-1, per_image).any(-1).nonzero()[:, 0]
        if not len(keep) or step + 1 == decoding.max_tokens:
            break
        if len(keep) * 2 <= len(rows) // per_image:  # images whose captions are all done stop costing
            still = (keep[:, None] * per_image + torch.arange(per_image, device=keep.device)).flatten()
            rows, choice, going = rows[still], choice[still], going[still]
            cache.keep(still)
            image = [KeysValues(kv.keys[keep], kv.values[keep]) for kv in image]
        states = model.text.decode(choice[:, None], image, cache)
    return ids, logprob


def _choose(logits: Tensor, draws: Tensor, stop: int, decoding: Decoding, early: bool) -> tuple[Tensor, Tensor]:
    log_probabilities = logits.log_softmax(-1)
    if early:
        logits = logits.index_fill(-1, torch.tensor([stop], device=logits.device), float("-inf"))
    choice = nucleus(logits / decoding.temperature, draws, decoding.top_p)
    return choice, log_probabilities.gather(-1, choice[:, None])[:, 0]
