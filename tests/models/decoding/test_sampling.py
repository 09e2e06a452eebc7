"""Nucleus sampling: the distribution, and one stream a caption."""

import pytest
import torch
import transformers

from capfilt.models.captioners.med import MedCaptioner
from capfilt.models.decoding.sampling import nucleus, uniforms, warp
from capfilt.models.med.model import MED
from capfilt.models.protocols import Decoding
from capfilt.models.tokenizer import Tokenizer

DECODING = Decoding(max_tokens=12, min_tokens=3)


def test_nucleus_draws_only_from_the_smallest_set_and_in_proportion() -> None:
    mass = torch.tensor([0.05, 0.5, 0.15, 0.3])  # 0.5 + 0.3 + 0.15 is the first sum to reach 0.9
    draws = uniforms([7], 20_000)[0]
    tokens = nucleus(mass.log().expand(len(draws), -1), draws, top_p=0.9)
    share = torch.bincount(tokens, minlength=4) / len(draws)
    assert share[0] == 0
    assert (share[1:] - mass[1:] / 0.95).abs().max() < 0.01


def test_nucleus_of_almost_no_mass_is_greedy() -> None:
    logits = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nucleus(logits, uniforms([1], 50)[0], 1e-6), logits.argmax(-1))


@pytest.mark.parametrize("top_p", [1e-6, 0.5, 0.9, 0.999, 1.0])
def test_the_likeliest_tokens_suffice_or_the_whole_vocabulary_is_read(top_p: float) -> None:
    """Rows from one sure token to all tokens alike, in one batch: what a sort of everything draws."""
    rows = torch.randn(40, 3000, generator=torch.Generator().manual_seed(1))
    logits = rows * torch.logspace(1.5, -3, 40)[:, None]
    draws = uniforms([3], 40)[0]
    mass, tokens = logits.softmax(-1).sort(-1, descending=True)
    slow = []
    for row in range(40):
        upto = mass[row].cumsum(0)
        size = int((upto - mass[row] < top_p).sum())
        place = torch.searchsorted(upto[:size].contiguous(), draws[row] * upto[size - 1], right=True)
        slow.append(int(tokens[row, min(int(place), size - 1)]))
    assert nucleus(logits, draws, top_p).tolist() == slow
    assert len(set(slow)) > 20


def test_nucleus_of_all_mass_never_leaves_the_vocabulary() -> None:
    draws = torch.tensor([0.0, 0.5, 1 - 2**-24])
    tokens = nucleus(torch.zeros(3, 5), draws, 1.0)
    assert tokens.min() >= 0
    assert tokens.max() < 5


@pytest.mark.parametrize("how", [{"repetition_penalty": 1.1}, {"top_k": 7}, {"repetition_penalty": 0.6, "top_k": 3}])
def test_logits_are_warped_as_in_transformers(how: dict[str, float]) -> None:
    logits = torch.randn(20, 60, generator=torch.Generator().manual_seed(2)).mul(3).round()  # ties among them
    said = torch.randint(60, (20, 9), generator=torch.Generator().manual_seed(3))
    decoding = Decoding(temperature=0.7, **how)  # type: ignore[arg-type]
    theirs: list[transformers.LogitsProcessor] = [
        transformers.RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty)
    ]
    theirs += [
        transformers.TemperatureLogitsWarper(0.7),
        *([transformers.TopKLogitsWarper(decoding.top_k)] if decoding.top_k else []),
    ]
    expected = transformers.LogitsProcessorList(theirs)(said, logits)
    assert torch.equal(warp(logits, said, decoding), expected)
    draws = uniforms([5], 20)[0]
    assert (expected.gather(1, nucleus(warp(logits, said, decoding), draws, 1.0)[:, None]) > -torch.inf).all()


def test_top_k_of_one_is_greedy_and_a_penalty_keeps_words_from_coming_again(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor
) -> None:
    captioner = MedCaptioner("test", "0", med, tokenizer)
    seeds = [[i] for i in range(len(images))]

    def texts(prompt: str, **how: float) -> list[str]:
        decoding = Decoding(max_tokens=12, min_tokens=12, **how)  # type: ignore[arg-type]
        return [row[0].text for row in captioner.caption(images, seeds, prompt, decoding)]

    assert texts("", top_k=1) == texts("", top_p=1e-6)
    for text in texts("two blue", top_k=1, repetition_penalty=1e4):
        said = text.split()
        assert len(set(said)) == len(said)
        assert not {"two", "blue"} & set(said)


def test_a_stream_is_its_seed_s_alone() -> None:
    together = uniforms([11, 12, 13], 6)
    assert torch.equal(together[1], uniforms([12], 6)[0])
    assert not torch.equal(together[0], together[1])


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 4, 10])
def test_same_caption_in_any_company(med: MED, tokenizer: Tokenizer, images: torch.Tensor, n: int) -> None:
    captioner = MedCaptioner("test", "0", med, tokenizer)
    seeds = [[1000 * image + k for k in range(n)] for image in range(len(images))]
    whole = captioner.caption(images, seeds, "", DECODING)
    for size in (1, 3):
        parts = [
            caption
            for start in range(0, len(images), size)
            for caption in captioner.caption(images[start : start + size], seeds[start : start + size], "", DECODING)
        ]
        assert [[c.text for c in row] for row in parts] == [[c.text for c in row] for row in whole]
    turned = captioner.caption(images.flip(0), seeds[::-1], "", DECODING)[::-1]
    assert [[c.text for c in row] for row in turned] == [[c.text for c in row] for row in whole]
    assert len({c.text for row in whole for c in row}) > len(images) // 2  # or the test would prove nothing


def test_log_probability_is_the_model_s_own(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    captioner = MedCaptioner("test", "0", med, tokenizer)
    (caption,) = captioner.caption(images[:1], [[3]], "", DECODING)[0]
    from capfilt.models.decoding.sampling import sample
    from capfilt.models.normalize import normalize
    from capfilt.models.tokenizer import SEP

    with torch.no_grad():
        image = med.text.project_image_kv(med.encode_image(normalize(images[:1], torch.float32)))
        start, stop = tokenizer.prompt(""), tokenizer.ids[SEP]
        ids, logprob = sample(med, image, start, stop, uniforms([3], 12), DECODING)
        written = ids[0][ids[0] != 0]
        logits = med.lm_logits(torch.cat((torch.tensor(start), written))[None], image)
    slow = logits[0, :-1].log_softmax(-1).gather(-1, written[:, None]).sum()
    assert abs(float(logprob[0]) - float(slow)) < 1e-3
    assert caption.logprob == pytest.approx(float(logprob[0]))


def test_lengths_are_kept(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    captioner = MedCaptioner("test", "0", med, tokenizer)
    captions = captioner.caption(images, [[i] for i in range(len(images))], "two blue", Decoding(max_tokens=6))
    assert all(not row[0].text.startswith("two blue") for row in captions)
    assert captioner.caption(images[:2], [[], []], "", DECODING) == [[], []]


def test_beams_give_the_best_captions_in_order_whatever_the_seeds_and_the_company(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor
) -> None:
    captioner = MedCaptioner("test", "0", med, tokenizer)
    how = Decoding(beams=4, max_tokens=12, min_tokens=3)
    whole = captioner.caption(images, [[1, 2, 3]] * len(images), "", how)
    assert [len(row) for row in whole] == [3] * len(images)
    assert all(len({caption.text for caption in row}) > 1 for row in whole)
    alone = [captioner.caption(images[k : k + 1], [[8, 9, 7]], "", how)[0] for k in range(len(images))]
    assert [[c.text for c in row] for row in alone] == [[c.text for c in row] for row in whole]
    (best,) = captioner.caption(images[:1], [[5]], "", how)
    assert best[0].text == whole[0][0].text
    greedy = captioner.caption(images, [[1]] * len(images), "", Decoding(top_p=1e-6, max_tokens=12, min_tokens=3))
    per_token = [(b[0].logprob or 0) >= (g[0].logprob or 0) - 1e-3 for b, g in zip(whole, greedy, strict=True)]
    assert sum(per_token) > len(images) * 3 // 4  # what a search is for
