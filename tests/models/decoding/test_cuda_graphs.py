"""Captions by recorded steps are those of plain ones; where there is a CUDA device, recorded they are."""

import copy
from collections.abc import Callable

import pytest
import torch

from capfilt.models.captioners.med import MedCaptioner
from capfilt.models.decoding import cuda_graphs
from capfilt.models.decoding.caption_rows import Rows
from capfilt.models.decoding.cuda_graphs import KEPT_SHAPES, ROWS, GraphSampler, RecordedLoop, rounded
from capfilt.models.decoding.sampling import sample, uniforms
from capfilt.models.med.cache import KeysValues
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.protocols import Decoding
from caption_lengths import MOST, caption_lengths, ending_draws

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]
PROMPT, STOP, TOKENS = [1, 7, 9], 2, 14


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def writer(device: str) -> MED:
    """More words than are looked at first, and some of them far likelier than others."""
    torch.manual_seed(0)
    shape = {"image_size": 16, "vision_layers": 2, "text_layers": 2, "vocab_size": 1000}
    model = MED(MEDConfig(**shape)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
        model.lm_head.bias.copy_(-2.0 * torch.arange(1000.0).add(1).log())
        model.lm_head.bias[STOP] = -1.0
    return model.to(device)


@torch.inference_mode()
def seen(model: MED, images: torch.Tensor) -> list[KeysValues]:
    return model.text.project_image_kv(
        model.encode_image(normalize(images.to(model.text.word.weight.device), torch.float32))
    )


def both(
    model: MED, images: torch.Tensor, n: int, how: Decoding, rows: int = ROWS
) -> tuple[list[list[int]], list[list[int]]]:
    """Ids by recorded and by plain steps; their log-probabilities are as good as the same."""
    draws = uniforms(range(len(images) * n), how.max_tokens).to(model.text.word.weight.device)
    image = seen(model, images)
    ids, logprob = GraphSampler(model, rows).sample(image, PROMPT, STOP, draws, how)
    with torch.inference_mode():
        plain, own = sample(model, image, PROMPT, STOP, draws, how)
    assert ids.shape == plain.shape
    same = (ids == plain).all(1)
    assert torch.allclose(logprob[same], own[same], atol=1e-3)
    return ids.tolist(), plain.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("images_", "n", "penalty", "top_k"), [(1, 1, 1.0, 0), (3, 4, 1.5, 0), (16, 2, 1.2, 40)])
def test_they_are_the_same(writer: MED, images: torch.Tensor, images_: int, n: int, penalty: float, top_k: int) -> None:
    how = Decoding(max_tokens=TOKENS, min_tokens=3, repetition_penalty=penalty, top_k=top_k)
    recorded, plain = both(writer, images[:images_], n, how)
    assert recorded == plain
    lengths = {row.index(STOP) if STOP in row else TOKENS for row in recorded}
    assert images_ == 1 or len(lengths) > 2  # of different lengths, none too short
    assert min(lengths) >= 2


@pytest.mark.parametrize(("rows", "n", "penalty"), [(8, 3, 1.0), (5, 1, 1.3), (4, 6, 1.0)])
def test_captions_that_wait_for_a_row_are_the_same(
    writer: MED, images: torch.Tensor, rows: int, n: int, penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In few rows, which are halved where none waits any more, down to one."""
    monkeypatch.setattr(cuda_graphs, "FEWEST_ROWS", 1)
    sizes: list[int] = []
    monkeypatch.setattr(RecordedLoop, "_play", _sized(sizes, RecordedLoop._play))
    how = Decoding(max_tokens=TOKENS, min_tokens=3, repetition_penalty=penalty)
    recorded, plain = both(writer, images[:6], n, how, rows)
    assert recorded == plain
    assert max(sizes) == rows
    assert len(set(sizes)) > 1


def _sized(sizes: list[int], inner: Callable[..., None]) -> Callable[..., None]:
    """Note how many rows are computed in each step."""

    def noting(loop: RecordedLoop, rows: Rows) -> None:
        sizes.append(len(rows.step))
        inner(loop, rows)

    return noting


@pytest.mark.parametrize("n", [1, 10])
def test_with_people_s_lengths_most_rows_of_a_step_are_of_use(
    med: MED, images: torch.Tensor, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, count = copy.deepcopy(med), 1280
    with torch.no_grad():  # the stop token is the likeliest, always, so that the numbers drawn say where a caption ends
        model.lm_head.bias.zero_()
        model.lm_head.bias[STOP] = 1.0
        model.lm_head.norm.weight.mul_(0.01)
    sizes: list[int] = []
    monkeypatch.setattr(RecordedLoop, "_play", _sized(sizes, RecordedLoop._play))
    lengths = caption_lengths(count)
    image = [
        KeysValues(*(part.repeat(count // n // 16 + 1, 1, 1, 1)[: count // n] for part in kv))
        for kv in seen(model, images[:16])
    ]
    how = Decoding(max_tokens=MOST, min_tokens=1)
    ids, _ = GraphSampler(model, 64).sample(image, PROMPT, STOP, ending_draws(lengths), how)
    assert [row.index(STOP) + 1 if STOP in row else MOST for row in ids.tolist()] == lengths
    whole = 320 * sum(max(lengths[first : first + 320]) for first in range(0, count, 320))  # until the last one ends
    assert sum(lengths) / whole < 0.5
    print(
        f"useful: {sum(lengths) / whole:.0%} to the end of 320 rows, {sum(lengths) / sum(sizes):.0%} refilled, n = {n}"
    )
    assert sum(lengths) / sum(sizes) >= 0.85


@pytest.mark.slow
def test_a_nucleus_of_more_words_than_are_looked_at_first_is_found_out(
    writer: MED, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[int] = []
    monkeypatch.setattr(RecordedLoop, "_take_again", _noting(again, RecordedLoop._take_again))
    how = Decoding(max_tokens=TOKENS, top_p=0.999, temperature=5.0)
    recorded, plain = both(writer, images, 3, how)
    alike = sum(a == b for a, b in zip(recorded, plain, strict=True))  # words are nearly as likely as one another here
    assert alike >= 0.9 * len(plain)
    assert again
    assert max(map(max, recorded)) > 300


def _noting(again: list[int], inner: Callable[..., None]) -> Callable[..., None]:
    def noting(loop: RecordedLoop, rows: Rows, before: list[torch.Tensor]) -> None:
        again.append(len(rows.step))
        inner(loop, rows, before)

    return noting


@pytest.mark.slow
def test_a_recording_serves_fewer_images_and_nothing_of_the_batch_before_is_left(
    writer: MED, images: torch.Tensor
) -> None:
    how, sampler = Decoding(max_tokens=TOKENS), GraphSampler(writer)
    image = seen(writer, images)
    draws = uniforms(range(16), TOKENS).to(image[0].keys.device)
    whole = sampler.sample(image, PROMPT, STOP, draws, how)[0].tolist()
    few = [KeysValues(kv.keys[:13], kv.values[:13]) for kv in image]
    assert sampler.sample(few, PROMPT, STOP, draws[:13], how)[0].tolist() == whole[:13]
    assert len(sampler.loops) == 1


@pytest.mark.slow
def test_few_recordings_are_kept_the_latest(writer: MED, images: torch.Tensor) -> None:
    sampler = GraphSampler(writer)
    for n in (1, 2, 3, 1, 4, 5, 1):
        draws = uniforms(range(n), TOKENS).to(writer.text.word.weight.device)
        sampler.sample(seen(writer, images[:1]), PROMPT, STOP, draws, Decoding(max_tokens=TOKENS))
    assert [shape.n for shape in sampler.loops] == [3, 4, 5, 1]
    assert len(sampler.loops) == KEPT_SHAPES


def test_sizes_of_recordings() -> None:
    assert [rounded(images) for images in (1, 2, 3, 5, 8, 9, 16, 17, 32)] == [1, 2, 4, 8, 8, 16, 16, 24, 32]


@pytest.mark.slow
def test_when_memory_runs_out_recordings_are_given_up(
    writer: MED, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, how = GraphSampler(writer), Decoding(max_tokens=TOKENS)
    image, draws = seen(writer, images[:1]), uniforms([0], TOKENS).to(writer.text.word.weight.device)
    first = sampler.sample(image, PROMPT, STOP, draws, how)[0].tolist()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(RecordedLoop, "write", full)
        with pytest.raises(torch.OutOfMemoryError):
            sampler.sample(image, PROMPT, STOP, draws, how)
    assert not sampler.loops
    assert sampler.sample(image, PROMPT, STOP, draws, how)[0].tolist() == first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_a_captioner_on_cuda_writes_by_recordings(med: MED, tokenizer: object) -> None:
    captioner = MedCaptioner("test", "0", copy.deepcopy(med).cuda(), tokenizer)  # type: ignore[arg-type]
    assert isinstance(getattr(captioner.write, "__self__", None), GraphSampler)
