"""Texts of images and images of texts, found by a dual encoder; those of a MED put in order by ITM (BLIP, section 5.1).

Dimensions: N images, M texts, k candidates a query.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from capfilt.core.errors import ModelError
from capfilt.models.judges.med import MAX_TOKENS, MedJudge

BATCH = 64
"""Texts encoded together."""

Images = Callable[[], Iterable[Tensor]]
"""Batches of uint8 [b, S, S, 3], the same each time it is called."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where the best right answer of every query stands, 0 = first; among wrong ones that score the same, amid them."""

    of_images: Tensor  # float64 [N]: text retrieval, TR
    of_texts: Tensor  # float64 [M]: image retrieval, IR


@runtime_checkable
class EncodesApart(Protocol):
    """A judge whose score is a cosine of two features, or that has such features beside it (a MED's ITC)."""

    name: str

    def image_features(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> [B, E] of length 1."""
        ...

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """M texts -> [M, E] of length 1."""
        ...


@torch.inference_mode()
def rank(judge: EncodesApart, images: Images, texts: Sequence[str], owner: Sequence[int], candidates: int) -> Ranks:
    """Ranks of all queries: by the cosine, and with a MED by ITM among the nearest.

    Args:
        owner: the image of each text; a text that several images have is right for all of them.
        candidates: the k nearest by ITC, which ITM puts in order: logit of a match + cosine, as BLIP's code has it.

    Raises:
        ModelError: a score that is no finite number.
    """
    features = [torch.cat([judge.image_features(batch) for batch in images()]).float(), _text_features(judge, texts)]
    similarity = features[0] @ features[1].T
    right = _right(texts, owner, len(similarity))
    by_image = by_text = similarity
    if isinstance(judge, MedJudge):
        by_image, by_text = _reranked(judge, images, texts, similarity, candidates)
    if not bool(torch.isfinite(by_image).all() & torch.isfinite(by_text).all()):
        raise ModelError(f"judge {judge.name!r} gives scores that are no finite numbers: its weights are broken")
    return Ranks(_best(by_image, right), _best(by_text.T, right.T))


def _reranked(
    judge: MedJudge, images: Images, texts: Sequence[str], similarity: Tensor, candidates: int
) -> tuple[Tensor, Tensor]:
    """Scores [N, M] of the texts of an image, and of the images of a text, with ITM's logit among the candidates."""
    near_texts = _nearest(similarity, candidates)
    near_images = _nearest(similarity.T, candidates).T
    matched = _match(judge, images, texts, near_texts | near_images)
    far = similarity - 100.0  # behind all candidates, in order of ITC
    # Ignored: mypy takes it for a tuple of any length.
    return tuple(torch.where(near, matched + similarity, far) for near in (near_texts, near_images))  # type: ignore[return-value]


def recall(ranks: Tensor, at: int) -> float:
    """Share of queries with a right answer among the first `at`: R@at."""
    return float((ranks < at).double().mean())


def _text_features(judge: EncodesApart, texts: Sequence[str]) -> Tensor:
    parts = [judge.text_features(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return torch.cat(parts).float()


def _right(texts: Sequence[str], owner: Sequence[int], images: int) -> Tensor:
    """bool [N, M]: which texts some annotator gave an image."""
    numbers: dict[str, int] = {}
    code = torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts])
    said = torch.zeros(images, len(numbers), dtype=torch.bool)
    said[torch.tensor(owner), code] = True
    return said[:, code]


def _nearest(similarity: Tensor, most: int) -> Tensor:
    """bool, of every row the `most` highest."""
    places = similarity.topk(min(most, similarity.shape[1])).indices
    return torch.zeros_like(similarity, dtype=torch.bool).scatter(1, places, True)


def _match(judge: MedJudge, images: Images, texts: Sequence[str], wanted: Tensor) -> Tensor:
    """ITM's logit of a match [N, M] where `wanted`, 0 elsewhere; the image tower runs once an image."""
    logits = torch.zeros(wanted.shape, device=wanted.device)
    row = 0
    for batch in images():
        for states in torch.split(judge.encode_image(batch), 1):
            columns = wanted[row].nonzero()[:, 0]
            ids, mask = judge.tokenizer.encode([texts[int(column)] for column in columns], judge.first, MAX_TOKENS)
            image = judge.model.text.project_image_kv(states)
            found = judge.model.itm_logits(ids.to(states.device), mask.to(states.device), image)
            logits[row, columns] = found[:, 1].float()
            row += 1
    return logits


def _best(scores: Tensor, right: Tensor) -> Tensor:
    """Of every row the place of its best right answer, best first; the mean of the places that it ties for."""
    right = right.to(scores.device)
    best = scores.masked_fill(~right, float("-inf")).max(1, keepdim=True).values
    tied = ((scores == best) & ~right).sum(1)
    return ((scores > best).sum(1).double() + tied / 2).cpu()
