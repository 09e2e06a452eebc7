"""Beam search, as BLIP's published captions were made (3 beams, 5 to 20 tokens with the prompt's four), and as
`transformers` does it.

The k beams of an image are k rows on the query axis of its cross-attention: its keys and values are never expanded.

Dimensions: B images still searched, k beams, R = B * k rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from capfilt.models.decoding.sampling import TokenWriter, begin, penalize
from capfilt.models.med.cache import KeysValues

NEVER: Final = -1e9
"""Score of what does not exist (yet). Finite: minus infinity times 0, as where a beam has not ended, would be NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How beams are searched. Lengths count the tokens after the prompt, the closing [SEP] included."""

    beams: int = 3
    max_tokens: int = 20
    min_tokens: int = 5
    length_penalty: float = 1.0  # a finished caption's score is its log-probability / length ** this
    repetition_penalty: float = 1.0  # log-probabilities of tokens said before, prompt included, are multiplied by it
    early_stopping: bool = False  # stop at k finished captions, however good the unfinished ones may become


@dataclass(slots=True)
class _Beams:
    """k captions of each image: ids [B, k, T], what they are ranked by and their own log-probability, both [B, k]."""

    ids: Tensor
    score: Tensor
    logprob: Tensor

    def take(self, index: Tensor) -> "_Beams":
        """Of each image these beams, int64 [B, any]."""
        ids = self.ids.gather(1, index[:, :, None].expand(-1, -1, self.ids.shape[2]))
        return _Beams(ids, self.score.gather(1, index), self.logprob.gather(1, index))

    def of(self, images: Tensor) -> "_Beams":
        """The beams of these images."""
        return _Beams(self.ids[images], self.score[images], self.logprob[images])

    def put(self, images: Tensor, other: "_Beams") -> None:
        """Write the beams of these images."""
        self.ids[images], self.score[images], self.logprob[images] = other.ids, other.score, other.logprob


def beam_search(
    model: TokenWriter, image: list[KeysValues], prompt: Sequence[int], stop: int, search: Search
) -> tuple[Tensor, Tensor]:
    """The k best captions found for each of B images, best first.

    Args:
        image: cross-attention keys and values of B images, projected once.
        prompt: ids every caption starts from ([DEC] first); not part of the result.
        stop: id that ends a caption.

    Returns:
        ids int64 [B, k, max_tokens], `stop` and 0 after a caption's end; log-probability float32 [B, k] of each
        caption under the model itself, natural log, summed over its tokens.
    """
    k, device = search.beams, image[0].keys.device
    images = torch.arange(image[0].keys.shape[0], device=device)
    found = _nothing(len(images), search, device)
    running, done = _nothing(len(images), search, device), found.of(images)
    running.score[:, 0] = 0.0  # all beams start alike: the first alone continues from the prompt
    running.logprob.zero_()
    said = torch.tensor(prompt, device=device)
    logits, cache = begin(model, image, said, k, search.max_tokens)
    for step in range(search.max_tokens):
        grown, beam = _grow(running, logits, step, said, stop, search)
        token = grown.ids[:, :, step]
        ended = (token == stop) | (step + 1 == search.max_tokens)
        going = (grown.score + ended * NEVER).topk(k).indices
        done = _finish(done, grown, ended, step, search)
        running, beam = grown.take(going), beam.gather(1, going)
        searched = _can_improve(running, done, step, search) & (step + 1 < search.max_tokens)
        if not bool(searched.all()):
            over = ~searched
            found.put(images[over], done.of(over))
            kept = searched.nonzero()[:, 0]
            if not len(kept):
                break
            images, running, done, beam = images[kept], running.of(kept), done.of(kept), beam[kept]
            image = [KeysValues(kv.keys[kept], kv.values[kept]) for kv in image]
            rows = kept[:, None] * k + beam
        else:
            rows = torch.arange(len(images), device=device)[:, None] * k + beam
        cache.take(rows.flatten())
        token = running.ids[:, :, step].reshape(-1, 1)
        logits = model.vocab_logits(model.text.decode(token, image, cache)[:, 0]).float()
    return found.ids, found.logprob


def _nothing(images: int, search: Search, device: torch.device) -> _Beams:
    ids = torch.zeros(images, search.beams, search.max_tokens, dtype=torch.int64, device=device)
    score = torch.full((images, search.beams), NEVER, device=device)
    return _Beams(ids, score, score.clone())


def _grow(running: _Beams, logits: Tensor, step: int, said: Tensor, stop: int, search: Search) -> tuple[_Beams, Tensor]:
    """The 2 k best ways to continue by one token, and the beam [B, 2 k] that each comes from.

    Twice as many as beams, so that k are left even if every beam's best token is `stop`.
    """
    images, k = running.score.shape
    own = logits.log_softmax(-1)
    spoken = torch.cat((said.expand(images * k, -1), running.ids.view(images * k, -1)[:, :step]), dim=1)
    penalized = penalize(own, spoken, search.repetition_penalty)
    if step + 1 < search.min_tokens:
        penalized = penalized.index_fill(1, torch.tensor([stop], device=own.device), float("-inf"))
    total = penalized.view(images, k, -1) + running.score[:, :, None]
    score, index = total.view(images, -1).topk(2 * k)
    beam, token = index // logits.shape[-1], index % logits.shape[-1]
    grown = running.take(beam)
    grown.ids[:, :, step] = token
    gain = own.view(images, -1).gather(1, index)
    return _Beams(grown.ids, score, grown.logprob + gain), beam


def _finish(done: _Beams, grown: _Beams, ended: Tensor, step: int, search: Search) -> _Beams:
    """The k best finished captions, those that ended now included if they are among the k best continuations."""
    k = search.beams
    best = torch.arange(2 * k, device=ended.device) < k
    score = torch.where(ended & best, grown.score / (step + 1) ** search.length_penalty, NEVER)
    if search.early_stopping:
        score = score.masked_fill((done.score > NEVER).all(1, keepdim=True), NEVER)
    ids = torch.cat((done.ids, grown.ids), 1)
    both = _Beams(ids, torch.cat((done.score, score), 1), torch.cat((done.logprob, grown.logprob), 1))
    return both.take(both.score.topk(k).indices)


def _can_improve(running: _Beams, done: _Beams, step: int, search: Search) -> Tensor:
    """bool [B]: whether the best unfinished caption, as it is now, beats the worst of k finished ones, or k are not."""
    full = (done.score > NEVER).all(1)
    hope = running.score[:, 0] / (step + 1) ** search.length_penalty
    better: Tensor = hope > done.score.min(1).values
    return ~full | (better & (not search.early_stopping))
