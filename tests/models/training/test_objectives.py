"""Each loss against a slow, plain one."""

import math

import torch

from capfilt.models.tokenizer import CLS, Tokenizer
from capfilt.models.training.objectives import hard_negatives, itc_loss, itm_loss, lm_loss, replace_tokens
from capfilt.models.training.synonyms import meanings


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_contrastive() -> None:
    similarity = unit(5, 8, 0) @ unit(5, 8, 1).T / 0.07
    same = torch.eye(5, dtype=torch.bool)
    same[1, 3] = same[3, 1] = True  # pictures 1 and 3 have the same text
    loss = itc_loss(similarity, similarity.T, same, same)
    slow = 0.0
    for scores in (similarity, similarity.T):
        for row in range(5):
            total = sum(math.exp(float(s)) for s in scores[row])
            matches = [column for column in range(5) if same[row, column]]
            slow -= sum(math.log(math.exp(float(scores[row, c])) / total) for c in matches) / len(matches)
    assert abs(float(loss) - slow / 10) < 1e-4


def test_language_leaves_out_padding_and_smooths() -> None:
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 2, 3, 4], [1, 5, 0, 0]])
    terms = []
    for row, step in ((0, 0), (0, 1), (0, 2), (1, 0)):
        log = logits[row, step].log_softmax(-1)
        terms.append(-0.9 * float(log[ids[row, step + 1]]) - 0.1 * float(log.mean()))
    assert abs(float(lm_loss(logits, ids)) - sum(terms) / len(terms)) < 1e-5


def test_matching() -> None:
    logits, match = torch.tensor([[0.0, 2.0], [1.0, -1.0]]), torch.tensor([True, False])
    slow = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-2))) / 2
    assert abs(float(itm_loss(logits, match)) - slow) < 1e-6


def test_hard_negatives_are_never_matches_and_follow_the_similarity() -> None:
    same = torch.eye(4, dtype=torch.bool)
    similarity = torch.zeros(4, 4)
    similarity[0, 2] = 20.0
    drawn = [hard_negatives(similarity, same, torch.Generator().manual_seed(seed)) for seed in range(50)]
    texts = torch.stack([texts for texts, _ in drawn])
    images = torch.stack([images for _, images in drawn])
    assert not (texts == torch.arange(4)).any()
    assert not (images == torch.arange(4)).any()
    assert (texts[:, 0] == 2).float().mean() > 0.95
    assert (images[:, 2] == 0).float().mean() > 0.95


def test_hard_negatives_survive_underflow_and_a_batch_without_any() -> None:
    """Without its epsilon the draw fails where softmax underflows (ALBEF issue 93)."""
    similarity = torch.full((3, 3), -1e4).fill_diagonal_(1e4)
    hard_negatives(similarity, torch.eye(3, dtype=torch.bool), torch.Generator())
    texts, _ = hard_negatives(similarity, torch.ones(3, 3, dtype=torch.bool), torch.Generator())
    assert texts.tolist() == [0, 1, 2]


def test_contrastive_with_smoothing() -> None:
    by_image, by_text = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).unbind()
    same = torch.eye(4, dtype=torch.bool)[1:]
    slow = 0.0
    for scores in (by_image, by_text):
        for row in range(3):
            log = scores[row].log_softmax(0)
            slow -= 0.9 * float(log[row + 1]) + 0.1 * float(log.mean())
    assert abs(float(itc_loss(by_image, by_text, same, same, smoothing=0.1)) - slow / 6) < 1e-5


def test_language_leaves_out_the_prompt() -> None:
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 6, 0]])
    terms = []
    for row, step in ((0, 2), (0, 3), (1, 2)):  # the prompt is [1, 2, 3]
        log = logits[row, step].log_softmax(-1)
        terms.append(-0.9 * float(log[ids[row, step + 1]]) - 0.1 * float(log.mean()))
    assert abs(float(lm_loss(logits, ids, prompt=3)) - sum(terms) / 3) < 1e-5
    assert abs(float(lm_loss(logits, ids, prompt=3, count=torch.tensor(6.0))) - sum(terms) / 6) < 1e-5


def test_two_sides_of_similarity_draw_from_their_own() -> None:
    by_text = torch.zeros(4, 4)
    by_text[1, 3] = 20.0
    same = torch.eye(4, dtype=torch.bool)
    drawn = [hard_negatives(torch.zeros(4, 4), same, torch.Generator().manual_seed(k), by_text)[1] for k in range(50)]
    assert (torch.stack(drawn)[:, 1] == 3).float().mean() > 0.95


def test_words_that_say_the_same_are_no_rivals() -> None:
    tokenizer = Tokenizer.from_words(["a small red dog the tiny blue"] * 2)
    texts = ["a small red dog", "the small red dog", "a tiny red dog", "a small blue dog"]
    ids, mask = tokenizer.encode(texts, CLS, 20)
    said, same = set(), meanings(tokenizer)
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        said |= set(tokenizer.decode_all(replace_tokens(ids, mask, generator, 0.5, same).tolist()))
    assert said == {*texts, "the small blue dog"}
    plain = replace_tokens(ids, mask, torch.Generator().manual_seed(1), 1.0)
    assert tokenizer.decode(plain[1].tolist()).split()[0] == "a"


def test_exchange_takes_rivals_only_and_leaves_the_ends() -> None:
    ids = torch.tensor([[9, 1, 2, 3, 8], [9, 1, 4, 3, 8], [9, 5, 6, 8, 0]])
    mask = ids != 0
    seen = set()
    for seed in range(40):
        changed = replace_tokens(ids, mask, torch.Generator().manual_seed(seed), share=0.5)
        seen.add(tuple(changed[0].tolist()))
        assert torch.equal(changed[:, [0, 1, 3]], ids[:, [0, 1, 3]])  # nothing else stands between the same two words
        assert changed[0, 2] in (2, 4)
        assert changed[1, 2] in (2, 4)
        assert torch.equal(changed[2], ids[2])
    assert seen == {(9, 1, 2, 3, 8), (9, 1, 4, 3, 8)}
