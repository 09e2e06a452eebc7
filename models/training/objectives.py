"""The three losses of MED on plain tensors (BLIP, section 3.2).

Dimensions: B pairs, E feature width, T tokens, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-4
"""Added to the weights of hard negatives, or `multinomial` fails on a row whose softmax underflows (ALBEF issue 93)."""


def contrastive(image: Tensor, text: Tensor, temperature: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """ITC within the batch. `image`, `text` [B, E] of length 1; `same` bool [B, B]: pairs that are true matches.

    Pairs of the same image or the same text share the target mass instead of being negatives of each other.

    Returns:
        The mean of both directions, and the similarities [B, B] (image rows, text columns), divided by temperature.
    """
    similarity = image @ text.T / temperature
    target = same.to(similarity.dtype)
    by_image = F.cross_entropy(similarity, target / target.sum(1, keepdim=True))
    by_text = F.cross_entropy(similarity.T, target.T / target.T.sum(1, keepdim=True))
    return (by_image + by_text) / 2, similarity


def hard_negatives(similarity: Tensor, same: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For every image a wrong text and for every text a wrong image, drawn in proportion to softmax(similarity).

    Args:
        similarity: [B, B], image rows, text columns.
        same: bool [B, B], true matches, never drawn.

    Returns:
        int64 [B] of text indices (one an image) and int64 [B] of image indices (one a text). A row without any
        negative (a batch of one picture) draws itself; callers mask it by `same`.
    """
    weights = (similarity.detach().float().softmax(1) + EPSILON).masked_fill(same, 0)
    other = (similarity.detach().float().softmax(0) + EPSILON).masked_fill(same, 0).T
    return _draw(weights, generator), _draw(other, generator)


def _draw(weights: Tensor, generator: torch.Generator) -> Tensor:
    alone = weights.sum(1) == 0
    own = torch.eye(len(weights), dtype=torch.bool, device=weights.device)
    usable = torch.where(alone[:, None] & own, 1.0, weights)
    return torch.multinomial(usable, 1, generator=generator)[:, 0]


def matching(logits: Tensor, match: Tensor) -> Tensor:
    """ITM: 2-way cross-entropy of logits [M, 2] against bool [M] (class 1 = match)."""
    return F.cross_entropy(logits.float(), match.long())


def language(logits: Tensor, ids: Tensor, smoothing: float = 0.1) -> Tensor:
    """LM: predict token t + 1 from tokens up to t. `logits` [M, T, V], `ids` [M, T], padding (id 0) left out."""
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), ignore_index=0, label_smoothing=smoothing
    )


def exchange(ids: Tensor, mask: Tensor, generator: torch.Generator, share: float = 0.15) -> Tensor:
    """Texts with some words exchanged for others that the text alone would allow.

    A word is exchanged for one that stands between the same two words in some text of the batch, so that only the image
    can tell. Words without such a rival stay.

    Args:
        ids: int64 [M, T], first and last token of a text are never exchanged.
        mask: bool [M, T], where a token is.
    """
    rows = [row[: int(length)] for row, length in zip(ids.tolist(), mask.sum(1).tolist(), strict=True)]
    rivals: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        for before, word, after in zip(row, row[1:], row[2:], strict=False):
            rivals.setdefault((before, after), []).append(word)
    changed = ids.clone()
    draws = torch.rand(ids.shape, generator=generator)
    picks = torch.rand(ids.shape, generator=generator)
    for number, row in enumerate(rows):
        for place in range(1, len(row) - 1):
            if draws[number, place] < share:
                others = [word for word in rivals[row[place - 1], row[place + 1]] if word != row[place]]
                if others:
                    changed[number, place] = others[int(picks[number, place] * len(others))]
    return changed
