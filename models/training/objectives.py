"""The losses of MED on plain tensors (BLIP, section 3.2).

Dimensions: B pairs of all workers together, b of one worker, C candidates an ITC row chooses from, E feature width,
T tokens, V vocabulary.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.001, 0.5
"""Bounds of the temperature (BLIP's code)."""
EPSILON = 1e-4
"""Added to the weights of hard negatives, or `multinomial` fails on a row whose softmax underflows (ALBEF issue 93)."""


def clamp_temperature(temperature: nn.Parameter) -> Tensor:
    """The temperature of ITC, moved back into its bounds; in place, as BLIP's code does.

    Clamped in the graph it would have no gradient outside, and never come back.
    """
    with torch.no_grad():
        temperature.clamp_(MIN_TEMPERATURE, MAX_TEMPERATURE)
    return temperature


def itc_loss(
    by_image: Tensor, by_text: Tensor, same_text: Tensor, same_image: Tensor, smoothing: float = 0.0
) -> Tensor:
    """ITC: the mean of both directions.

    Candidates of the same image or the same text share the target mass instead of being negatives of each other.

    Args:
        by_image: [b, C], similarities of images with texts, divided by temperature.
        by_text: [b, C], similarities of texts with images, likewise.
        same_text: bool [b, C]: which texts are true matches of an image.
        same_image: bool [b, C]: which images are true matches of a text.
        smoothing: share of the target mass that is spread over all candidates (Q-Former: 0.1).
    """
    forth, back = hard_targets(same_text, by_image), hard_targets(same_image, by_text)
    return (
        F.cross_entropy(by_image, forth, label_smoothing=smoothing)
        + F.cross_entropy(by_text, back, label_smoothing=smoothing)
    ) / 2


def sigmoid_loss(logits: Tensor, same: Tensor) -> Tensor:
    """SigLIP: a yes or no for each pair, summed over the candidates of a row and averaged over rows.

    Args:
        logits: [b, C], scale * cosine + bias of images with texts.
        same: bool [b, C]: true matches; pairs of the same image or the same text are among them.
    """
    signs = same.to(logits.dtype) * 2 - 1
    return -F.logsigmoid(signs * logits).sum(1).mean()


def hard_targets(same: Tensor, like: Tensor) -> Tensor:
    """Hard targets [b, C]: the mass of a row, shared evenly by its true matches."""
    target = same.to(like.dtype)
    return target / target.sum(1, keepdim=True)


def soft_targets(target: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """Soft targets: alpha of the mass goes where the momentum encoders' similarities [b, C] see a match (ALBEF)."""
    return alpha * teacher.softmax(1) + (1 - alpha) * target


def soft_cross_entropy(student: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of similarities [b, C] against soft targets [b, C]."""
    return -(student.log_softmax(1) * target).sum(1).mean()


def hard_negatives(
    similarity: Tensor, same: Tensor, generator: torch.Generator, by_text: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """For every image a wrong text and for every text a wrong image, drawn in proportion to softmax(similarity).

    Args:
        similarity: [B, B], image rows, text columns.
        same: bool [B, B], image rows; what is never drawn: true matches.
        by_text: [B, B], text rows, where the other direction has similarities of its own (momentum encoders).

    Returns:
        int64 [B] of text indices (one an image) and int64 [B] of image indices (one a text). A row without any
        negative (a batch of one image) draws itself; callers mask it by `same`.
    """
    weights = (similarity.detach().float().softmax(1) + EPSILON).masked_fill(same, 0)
    back = similarity.T if by_text is None else by_text
    other = (back.detach().float().softmax(1) + EPSILON).masked_fill(same.T, 0)
    return _draw(weights, generator), _draw(other, generator)


def _draw(weights: Tensor, generator: torch.Generator) -> Tensor:
    # multinomial refuses a row of zeros: a batch of one image has no negative, and draws itself.
    alone = weights.sum(1) == 0
    own = torch.eye(len(weights), dtype=torch.bool, device=weights.device)
    usable = torch.where(alone[:, None] & own, 1.0, weights).nan_to_num(
        1.0
    )  # a loss of NaN ends the training, not this
    return torch.multinomial(usable, 1, generator=generator)[:, 0]


def itm_loss(logits: Tensor, match: Tensor, count: Tensor | None = None) -> Tensor:
    """ITM: 2-way cross-entropy of logits [M, 2] against bool [M] (class 1 = match), over `count` rows, default M."""
    # A sum divided by a count of all workers: a mean of means would weigh a worker of few rows too much.
    total = F.cross_entropy(logits.float(), match.long(), reduction="sum")
    return total / (len(match) if count is None else count)


def lm_loss(
    logits: Tensor, ids: Tensor, smoothing: float = 0.1, prompt: int = 1, count: Tensor | None = None
) -> Tensor:
    """LM: predict token t + 1 from tokens up to t. `logits` [M, T, V], `ids` [M, T], padding (id 0) left out.

    Args:
        prompt: tokens every text starts from, the first one included; they are given, not learned.
        count: tokens the sum is divided by, default those of `ids` that are learned.
    """
    loss = F.cross_entropy(
        logits[:, prompt - 1 : -1].flatten(0, 1).float(),
        ids[:, prompt:].flatten(),
        ignore_index=0,
        label_smoothing=smoothing,
        reduction="mean" if count is None else "sum",
    )
    return loss if count is None else loss / count


def replace_tokens(
    ids: Tensor,
    mask: Tensor,
    generator: torch.Generator,
    share: float = 0.15,
    meanings: Mapping[int, int] | None = None,
) -> Tensor:
    """Texts with some words exchanged for others that the text alone would allow.

    A word is exchanged for one that stands between the same two words in some text of the batch, so that only the image
    can tell. Words without such a rival stay; a word that says the same is none.

    Args:
        ids: int64 [M, T], first and last token of a text are never exchanged.
        mask: bool [M, T], where a token is.
        meanings: groups of tokens that say the same (`synonyms.meanings`).
    """
    same = meanings or {}
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
                own = same.get(row[place], -row[place])  # a word of no group is a group of its own
                others = [word for word in rivals[row[place - 1], row[place + 1]] if same.get(word, -word) != own]
                if others:
                    changed[number, place] = others[int(picks[number, place] * len(others))]
    return changed
