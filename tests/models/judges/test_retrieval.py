"""Retrieval against a plain one: every pair scored, every list sorted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from capfilt.core.errors import ModelError
from capfilt.models.judges.med import MedJudge
from capfilt.models.judges.retrieval import EncodesApart, _best, rank, recall
from capfilt.models.med.config import SIZES
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.registry.registry import Placement, load_judge
from capfilt.models.tokenizer import CLS, ENC, Tokenizer

TEXTS = [
    "a red circle",
    "two blue squares",
    "a small star",
    "one green circle",
    "a red circle",
    "blue",
    "a star",
    "two",
]
OWNER = [0, 0, 1, 2, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def judge() -> MedJudge:
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_words(TEXTS, min_count=1)
    small = {"vision_width": 32, "vision_layers": 1, "text_width": 32, "text_layers": 2, "text_ffn": 64}
    med = MED(replace(SIZES["med-tiny"], image_size=16, projection=16, vocab_size=len(tokenizer), **small)).eval()
    with torch.no_grad():
        for parameter in med.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return MedJudge("tiny", "0" * 12, med, tokenizer, "enc")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (6, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def plain(judge: MedJudge, images: torch.Tensor, candidates: int) -> tuple[list[int], list[int]]:
    """A pair at a time, lists sorted by (is a candidate, score)."""
    cosine, both = torch.zeros(6, 8), torch.zeros(6, 8)
    for row in range(6):
        states = judge.model.encode_image(normalize(images[row : row + 1], torch.float32))
        for column, text in enumerate(TEXTS):
            feature = judge.model.text_feature(*judge.tokenizer.encode([text], CLS, 35))
            cosine[row, column] = float((feature * judge.model.image_feature(states)).sum())
            logits = judge.model.itm_logits(
                *judge.tokenizer.encode([text], ENC, 35), judge.model.text.project_image_kv(states)
            )
            both[row, column] = float(logits[0, 1]) + cosine[row, column]

    def place(near: torch.Tensor, scores: torch.Tensor, right: list[bool]) -> int:
        order = sorted(range(len(near)), key=lambda k: -float(near[k]))
        first = sorted(order[:candidates], key=lambda k: -float(scores[k]))
        return next(n for n, k in enumerate([*first, *order[candidates:]]) if right[k])

    gives = [{TEXTS[m] for m in range(8) if OWNER[m] == row} for row in range(6)]
    of_images = [place(cosine[n], both[n], [text in gives[n] for text in TEXTS]) for n in range(6)]
    of_texts = [place(cosine[:, m], both[:, m], [TEXTS[m] in gives[n] for n in range(6)]) for m in range(8)]
    return of_images, of_texts


@pytest.mark.parametrize("candidates", [1, 3, 99])
def test_ranks_are_those_of_sorted_lists(judge: MedJudge, images: torch.Tensor, candidates: int) -> None:
    found = rank(judge, lambda: images.split(4), TEXTS, OWNER, candidates)
    of_images, of_texts = plain(judge, images, candidates)
    assert found.of_images.tolist() == of_images
    assert found.of_texts.tolist() == of_texts
    assert len(set(of_images) | set(of_texts)) > 2


def test_recall_counts_the_first_places() -> None:
    ranks = torch.tensor([0, 4, 5, 11])
    assert [recall(ranks, at) for at in (1, 5, 10)] == [0.25, 0.5, 0.75]


def test_ties_rank_amid_the_wrong_answers_and_not_before_them() -> None:
    right = torch.tensor([[True, False, False, False], [False, True, True, False]])
    equal = torch.ones(2, 4)
    assert _best(equal, right).tolist() == [1.5, 1.0]
    assert recall(_best(equal, right), 1) == 0.0
    assert _best(torch.tensor([[2.0, 1, 1, 1], [0.0, 1, 0, 1]]), right).tolist() == [0.0, 0.5]


def test_a_judge_of_nan_is_refused(judge: MedJudge, images: torch.Tensor) -> None:
    weight = judge.model.itm_head.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    try:
        with pytest.raises(ModelError, match="judge 'tiny' gives scores that are no finite numbers"):
            rank(judge, lambda: [images], TEXTS, OWNER, candidates=3)
    finally:
        with torch.no_grad():
            weight.copy_(before)


@pytest.mark.parametrize("name", ["clip-transformers", "siglip-transformers", "clip"])
def test_a_dual_encoder_is_ranked_by_the_scores_that_it_gives(published: Callable[[str], Path], name: str) -> None:
    judge = load_judge(str(published(name)), Placement(device="cpu"))
    side = judge.pixels.size
    pictures = torch.randint(0, 256, (6, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    scores = torch.tensor(judge.score(pictures, [TEXTS] * 6)["clip"])
    assert isinstance(judge, EncodesApart)
    found = rank(judge, lambda: pictures.split(4), TEXTS, OWNER, candidates=3)
    for row, place in enumerate(found.of_images.tolist()):
        own = {TEXTS[column] for column, owner in enumerate(OWNER) if owner == row}
        right = torch.tensor([text in own for text in TEXTS])
        above = scores[row] - scores[row][right].max()
        tied = (above.abs() <= 1e-6) & ~right
        assert place == int((above > 1e-6).sum()) + int(tied.sum()) / 2
