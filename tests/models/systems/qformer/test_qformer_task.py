"""Both stages of a Q-Former: losses against plain ones, what is frozen, and a captioner at the end."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers
import torch
from torch import Tensor
from torch.nn import Module

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.weights import save_med
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.protocols import Decoding
from capfilt.models.qformer import checkpoint
from capfilt.models.qformer.bridge import Bridge
from capfilt.models.qformer.config import describe, is_qformer
from capfilt.models.qformer.language import IGNORED, LanguageModel
from capfilt.models.qformer.start import bridge_on, config_for, skip_last_layers
from capfilt.models.registry.registry import check, load_captioner
from capfilt.models.runtime import Placement
from capfilt.models.systems.qformer.task import Stage1Task, Stage2Task, split_captions
from capfilt.models.tokenizer import CLS, DEC, Tokenizer
from capfilt.models.training.batch import Batch
from capfilt.models.training.objectives import hard_negatives, itm_loss
from capfilt.training.recipes import load_training
from capfilt.training.train import Request, train

TEXTS = ["a red circle", "two blue squares", "a small star", "one green circle"]


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def bridge(med: MED) -> Bridge:
    return bridge_on(med, config_for(med, queries=4, width=0, layers=0, heads=0, ffn=0))


def test_the_losses_of_stage_1_are_the_plain_ones(bridge: Bridge, tokenizer: Tokenizer, images: Tensor) -> None:
    """A pair at a time, the largest cosine over queries by hand, negatives as the task's generator draws them."""
    task = Stage1Task(bridge, tokenizer, seed=7)
    _, values = task(Batch(images, TEXTS))
    qformer = bridge.qformer
    with torch.no_grad():
        states = bridge.encode_image(normalize(images, torch.float32))
        words = [tokenizer.encode([text], CLS, 32) for text in TEXTS]
        cosines = torch.zeros(4, 4)
        for row in range(4):
            queries = qformer.image_features(bridge.project_image_kv(states[row : row + 1]))[0]
            for column, (ids, mask) in enumerate(words):
                cosines[row, column] = max(float(query @ qformer.text_feature(ids, mask)[0]) for query in queries)
        similarity = cosines / 0.07
        itc = 0.0
        for scores in (similarity, similarity.T):
            log = scores.log_softmax(1)
            itc -= sum(0.9 * float(log[k, k]) + 0.1 * float(log[k].mean()) for k in range(4)) / 8
        wrong, others = hard_negatives(similarity, torch.eye(4).bool(), torch.Generator().manual_seed(7))
        pairs = [(k, k, True) for k in range(4)]
        pairs += [(k, int(wrong[k]), False) for k in range(4)] + [(int(others[k]), k, False) for k in range(4)]
        itm = 0.0
        for picture, text, match in pairs:
            logits = qformer.itm_logits(*words[text], bridge.project_image_kv(states[picture : picture + 1]))
            itm += float(itm_loss(logits, torch.tensor([match]))) / 12
        terms = []
        for row, text in enumerate(TEXTS):
            ids, _ = tokenizer.encode([text], DEC, 32)
            log = qformer.lm_logits(ids, bridge.project_image_kv(states[row : row + 1]))[0].log_softmax(-1)
            terms += [-0.9 * float(log[t, ids[0, t + 1]]) - 0.1 * float(log[t].mean()) for t in range(ids.shape[1] - 1)]
    assert float(values["itc"]) == pytest.approx(itc, abs=1e-4)
    assert float(values["itm"]) == pytest.approx(itm, abs=1e-4)
    assert float(values["itg"]) == pytest.approx(sum(terms) / len(terms), abs=1e-4)


def test_a_q_former_starts_from_the_text_side_of_the_med(bridge: Bridge, med: MED) -> None:
    layer, source = bridge.qformer.layers[1], med.text.layers[1]
    assert torch.equal(layer.own.query.weight, source.encoder.query.weight)
    assert torch.equal(layer.text_ffn.fc1.weight, source.fc1.weight)
    assert torch.equal(layer.query_ffn.norm.bias, source.norm.bias)
    assert torch.equal(bridge.qformer.layers[0].cross.key.weight, med.text.layers[0].cross.key.weight)
    assert bridge.qformer.layers[1].cross is None
    assert torch.equal(bridge.qformer.word.weight, med.text.word.weight)


def bits(module: Module) -> dict[str, bytes]:
    return {name: tensor.detach().numpy().tobytes() for name, tensor in module.state_dict().items()}


def step(task: torch.nn.Module, batch: Batch) -> dict[str, float]:
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.5)
    task.train()
    loss, values = task(batch)
    loss.backward()
    optimizer.step()
    return {name: float(value) for name, value in values.items()}


def test_what_is_frozen_stays_to_the_bit(bridge: Bridge, tokenizer: Tokenizer, images: Tensor, language: Path) -> None:
    model = LanguageModel.load(language)
    task2 = Stage2Task(replaced(bridge, model.width), model)
    task1 = Stage1Task(bridge, tokenizer)
    frozen = [bridge.vision.module, model.frozen.module]
    before = [bits(module) for module in frozen]
    norm = bridge.vision_norm.weight.detach().clone()
    for _ in range(3):
        step(task1, Batch(images, TEXTS))
        step(task2, Batch(images, TEXTS))
    assert [bits(module) for module in frozen] == before
    assert not torch.equal(norm, bridge.vision_norm.weight)
    for module in frozen:
        assert not module.training
        assert all(not p.requires_grad and p.grad is None for p in module.parameters())
    trained = {id(p) for task in (task1, task2) for p in task.parameters()}
    assert not trained & {id(p) for module in frozen for p in module.parameters()}


def replaced(bridge: Bridge, width: int) -> Bridge:
    """The same bridge with a projection."""
    bridge.projection = torch.nn.Linear(bridge.qformer.config.width, width)
    return bridge


@pytest.mark.parametrize("prompt", ["", "a small"])
def test_the_loss_of_stage_2_is_the_model_s_own(bridge: Bridge, images: Tensor, language: Path, prompt: str) -> None:
    """The model itself told the soft prompt, the words and the labels, a caption at a time."""
    model = LanguageModel.load(language)
    replaced(bridge, model.width)
    _, values = Stage2Task(bridge, model, prompt, max_tokens=4)(Batch(images, TEXTS))
    own, words = model.frozen.module, model.tokenizer
    total, count = 0.0, 0
    with torch.no_grad():
        soft = bridge.soft_prompt(bridge.encode_image(normalize(images, torch.float32)))
        given = words(prompt, add_special_tokens=False)["input_ids"] if prompt else []
        split = split_captions(TEXTS, torch.Generator().manual_seed(0)) if model.encoder_decoder else []
        assert all(f"{first} {last}".strip() == text for (first, last), text in zip(split, TEXTS, strict=False))
        for row, text in enumerate(TEXTS):
            prefix, text = split[row] if split else ("", text)
            ids = [*words(text, add_special_tokens=False)["input_ids"][:3], words.eos_token_id]
            embed = own.get_input_embeddings()
            if model.encoder_decoder:
                read = [*given, *(words(prefix, add_special_tokens=False)["input_ids"] if prefix else [])]
                inputs = torch.cat((soft[row], embed(torch.tensor(read, dtype=torch.int64))))[None]
                loss = own(inputs_embeds=inputs, labels=torch.tensor([ids])).loss
            else:
                inputs = torch.cat((soft[row], embed(torch.tensor([*given, *ids]))))[None]
                labels = torch.tensor([[IGNORED] * (len(soft[row]) + len(given)) + ids])
                loss = own(inputs_embeds=inputs, labels=labels).loss
            total, count = total + float(loss) * len(ids), count + len(ids)
    assert float(values["lm"]) == pytest.approx(total / count, rel=1e-4)


def request(task: str, data: Path, out: Path, *settings: str) -> Request:
    base = ("schedule.batch=8", "work.log_every=1", "work.save_every=2")
    return Request(task, (str(data),), out, load_training("small", task, (*base, *settings)))


def test_both_stages_make_a_captioner(
    med: MED, tokenizer: Tokenizer, images: Tensor, pairs_file: Path, language: Path, tmp_path: Path
) -> None:
    save_med(tmp_path / "med", med, tokenizer, ("captioner", "filter"))
    tower = f"model.vision={tmp_path / 'med'}"
    train(request("qformer", pairs_file, tmp_path / "one", tower, "queries.queries=4", "schedule.steps=2"))
    assert is_qformer(tmp_path / "one")
    assert describe(tmp_path / "one").roles == ()
    second = (f"model.start={tmp_path / 'one'}", f"model.language={language}", "schedule.steps=3")
    train(request("qformer", pairs_file, tmp_path / "two", *second, "objectives.prompt=a"))
    described = describe(tmp_path / "two")
    assert (described.roles, described.prompt, described.qformer.queries) == (("captioner",), "a", 4)
    assert bits(checkpoint.load(tmp_path / "two")[0].vision.module) == bits(med.vision)
    for path in language.iterdir():
        assert (tmp_path / "two" / "language" / path.name).read_bytes() == path.read_bytes()
    assert check(str(tmp_path / "two"), "captioner")
    with pytest.raises(ModelError, match=r"one.* is not a captioner"):
        check(str(tmp_path / "one"), "captioner")
    captioner = load_captioner(str(tmp_path / "two"), Placement(device="cpu"))
    decoding = Decoding(max_tokens=6, min_tokens=1)
    together = captioner.caption(images, [[1, 2], [3, 4], [5, 6], [7, 8]], "", decoding)
    assert [len(row) for row in together] == [2, 2, 2, 2]
    assert all(caption.logprob < 0 for row in together for caption in row)
    alone = captioner.caption(images[2:3], [[6]], "", decoding)
    assert alone[0][0].text == together[2][1].text
    assert alone[0][0].logprob == pytest.approx(together[2][1].logprob, abs=1e-3)
    assert captioner.caption(images[:1], [[]], "", decoding) == [[]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "model.vision: stage 1 of a Q-Former needs"),
        (("model.vision=MED", "queries.skip_layers=1"), "queries.skip_layers = 1: the image encoder has 1 layers"),
        (("model.language=nowhere",), "model.language: model .nowhere. is neither a directory"),
        (("model.language=LM", "model.start=MED"), "stage 2 of a Q-Former starts from a stage 1"),
    ],
)
def test_mistakes_are_named(
    med: MED, tokenizer: Tokenizer, pairs_file: Path, language: Path, tmp_path: Path, settings: tuple[str], said: str
) -> None:
    save_med(tmp_path / "med", med, tokenizer, ("captioner",))
    named = [s.replace("LM", str(language)).replace("MED", str(tmp_path / "med")) for s in settings]
    with pytest.raises(ConfigError, match=said):
        train(request("qformer", pairs_file, tmp_path / "out", *named))


def test_width_of_the_queries_can_differ_from_the_med_s(med: MED) -> None:
    shape = config_for(med, queries=2, width=16, layers=3, heads=2, ffn=32)
    assert bridge_on(med, shape).qformer.layers[2].own.query.weight.shape == (16, 16)
    assert replace(shape, queries=3).queries == 3


def test_a_causal_model_reads_its_begin_of_text_and_an_old_checkpoint_does_not(
    language: Path, bridge: Bridge, images: Tensor, tmp_path: Path
) -> None:
    """The model's own loss with </s> between queries and caption, as LAVIS feeds OPT."""
    shutil.copytree(language, tmp_path / "lm")
    words = tokenizers.Tokenizer.from_file(str(tmp_path / "lm" / "tokenizer.json"))
    end = LanguageModel.load(language).tokenizer.eos_token
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{end} $A {end}", special_tokens=[(end, words.token_to_id(end))]
    )
    words.save(str(tmp_path / "lm" / "tokenizer.json"))
    plain, model = LanguageModel.load(tmp_path / "lm"), LanguageModel.load(tmp_path / "lm", begins=True)
    causal = not model.encoder_decoder
    assert (plain.begin, model.begin) == ([], [words.token_to_id(end)] if causal else [])
    replaced(bridge, model.width)
    with torch.no_grad():
        soft = bridge.soft_prompt(bridge.encode_image(normalize(images[:1], torch.float32)))
        logits, labels = model.lm_logits(soft, "", TEXTS[:1], 8)
        loss = torch.nn.functional.cross_entropy(logits[0], labels[0])
        if causal:
            own = model.frozen.module
            ids = [*model.begin, *labels[0].tolist()]
            inputs = torch.cat((soft[0], own.get_input_embeddings()(torch.tensor(ids))))[None]
            wanted = own(inputs_embeds=inputs, labels=torch.tensor([[IGNORED] * (len(soft[0]) + 1) + ids[1:]])).loss
            assert float(loss) == pytest.approx(float(wanted), rel=1e-4)
        same = torch.equal(logits, plain.lm_logits(soft, "", TEXTS[:1], 8)[0])
    assert same != causal


def test_the_queries_read_the_layer_before_the_last(med: MED, images: Tensor) -> None:
    deep = MED(replace(med.config, vision_layers=3)).eval()
    pixels = normalize(images, torch.float32)
    with torch.no_grad():
        hidden: list[Tensor] = []
        deep.vision.layers[1].register_forward_hook(lambda *seen: hidden.append(seen[2]))
        deep.encode_image(pixels)
        skip_last_layers(deep, 1)
        states = bridge_on(deep, config_for(deep, 4, 0, 0, 0, 0)).encode_image(pixels)
        assert deep.config.vision_layers == 2
        assert torch.equal(states, deep.vision.norm(hidden[0]) + deep.vision.output_pos_embed)
