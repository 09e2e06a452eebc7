"""Visual question answering: parity, the loss against a plain one, and answers learned from a few pictures."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from capfilt.core.errors import ModelError
from capfilt.models.decoding.answers import BEAMS, RANKED, SMOOTHING, Answerer, search_answers
from capfilt.models.formats.vqa import load_vqa
from capfilt.models.formats.weights import save_med
from capfilt.models.med.blip import from_blip
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.model import MED
from capfilt.models.med.vqa import ANSWER_TOKENS, QUESTION_TOKENS, VQA, answer_losses
from capfilt.models.systems.vqa.task import VQATask
from capfilt.models.tokenizer import DEC, SEP, Tokenizer, clean_answer, clean_question
from capfilt.models.training.batch import QuestionBatch
from capfilt.training.batches import weigh
from capfilt.training.recipes import load_training
from capfilt.training.train import Request, train
from command_line import invoke

QUESTIONS = ["a red circle", "two squares on a mat"]


def test_logits_are_those_of_transformers() -> None:
    import transformers

    vision = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = transformers.BlipConfig(
        vision_config=vision | {"image_size": 16, "patch_size": 8, "initializer_range": 0.2},
        text_config=text
        | {"vocab_size": 60, "encoder_hidden_size": 32, "max_position_embeddings": 40, "initializer_range": 0.2},
        image_text_hidden_size=16,
    )
    theirs = transformers.BlipForQuestionAnswering(config).eval()
    shape = MEDConfig(
        image_size=16,
        patch_size=8,
        vision_width=32,
        vision_layers=1,
        vision_heads=4,
        text_width=32,
        text_layers=2,
        text_heads=4,
        text_ffn=64,
        vocab_size=60,
        max_positions=40,
        projection=16,
    )
    ours = VQA(MED(shape)).eval()
    weights = theirs.state_dict()
    question = from_blip({n: t for n, t in weights.items() if not n.startswith("text_decoder")}, "retrieval")
    answer = from_blip({n: t for n, t in weights.items() if n.startswith("text_decoder")}, "captioning")
    ours.med.load_state_dict(question, strict=False)
    own = {name.replace("text.", "answer.", 1): tensor for name, tensor in answer.items()}
    _, unexpected = ours.load_state_dict(own, strict=False)
    assert not unexpected
    pixels, ids = torch.randn(2, 3, 16, 16), torch.randint(6, 60, (2, 7))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 4:] = False
    words = torch.randint(6, 60, (2, 5))
    with torch.no_grad():
        states = theirs.vision_model(pixels).last_hidden_state
        read = theirs.text_encoder(ids, attention_mask=mask.long(), encoder_hidden_states=states).last_hidden_state
        # transformers 5.23 does not use `encoder_attention_mask` here: so each question alone, without its padding.
        logits = torch.cat(
            [
                theirs.text_decoder(input_ids=words[row, None], encoder_hidden_states=read[row, None, :length]).logits
                for row, length in ((0, 7), (1, 4))
            ]
        )
        best = [
            theirs.text_decoder.generate(
                input_ids=torch.tensor([[4]]),
                encoder_hidden_states=read[row, None, :length],
                num_beams=3,
                max_length=10,
                min_length=1,
                eos_token_id=3,
                pad_token_id=0,
            )[0, 1:].tolist()
            for row, length in ((0, 7), (1, 4))
        ]
        asked = ours.encode_questions(pixels, ids, mask)
        found = search_answers(ours, asked, mask, {DEC: 4, SEP: 3})
        assert [row[: len(other)] for row, other in zip(found, best, strict=True)] == best
        assert (asked[mask] - read[mask]).abs().max() < 1e-4
        assert (ours.answer_logits(words, asked, mask) - logits).abs().max() < 1e-4


def test_the_loss_is_the_weighted_sum_of_the_answers(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    answers = [weigh(["a cat", "a cat", "red"]), weigh(["blue"])]
    assert answers == [[("a cat", 2 / 3), ("red", 1 / 3)], [("blue", 1.0)]]
    model = VQA(med)
    loss, _ = VQATask(model, tokenizer)(QuestionBatch(images[:2], QUESTIONS, answers))
    slow = 0.0
    answerer = Answerer(model, tokenizer)
    for row, own in enumerate(answers):
        states, mask = answerer._read(images[row : row + 1], [QUESTIONS[row]])
        for text, weight in own:
            ids, _ = tokenizer.encode([text], DEC, 12)
            log = model.answer_logits(ids, states, mask)[0].detach().log_softmax(-1)
            for step in range(ids.shape[1] - 1):
                slow -= weight * float(0.9 * log[step, ids[0, step + 1]] + 0.1 * log[step].mean())
    assert float(loss.detach()) == pytest.approx(slow / 2, rel=1e-4)


def test_decoder_starts_from_the_med_even_where_widths_differ(shape: MEDConfig) -> None:
    med = MED(replace(shape, vision_width=64))
    model = VQA(med)
    layer, source = model.answer.layers[0], med.text.layers[0]
    assert torch.equal(layer.fc1.weight, source.fc1.weight)
    assert torch.equal(layer.cross.query.weight, source.cross.query.weight)
    assert layer.cross.key.weight.shape == (32, 32) != source.cross.key.weight.shape


def write_questions(path: Path, count: int) -> None:
    """Grounds of four colours; which colour, and is it one of them?"""
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    rows = []
    for number in range(count):
        name = list(colours)[number % 4]
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), colours[name]).save(stream, "PNG")
        other = list(colours)[(number // 4) % 4]
        asked = [
            {"question": "what colour is the ground", "answers": [name]},
            {"question": f"is the ground {other}", "answers": ["yes" if other == name else "no"]},
        ]
        rows.append({"image": stream.getvalue(), "questions": asked})
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_it_learns_to_answer(med: MED, tmp_path: Path) -> None:
    write_questions(tmp_path / "q.parquet", 64)
    words = Tokenizer.from_words(["what colour is the ground red green blue white yes no"], min_count=1)
    save_med(tmp_path / "start", MED(replace(med.config, vocab_size=len(words))), words, ("captioner", "filter"))
    settings = (f"model.start={tmp_path / 'start'}", "schedule.steps=100", "schedule.batch=16", "schedule.rate=5e-3")
    recipe = load_training("small", "vqa", settings)
    train(Request("vqa", (str(tmp_path / "q.parquet"),), tmp_path / "out", recipe))
    answerer = load_vqa(tmp_path / "out")
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], dtype=torch.uint8)
    images = colours[:, None, None].expand(-1, 16, 16, -1)
    names = ["red", "green", "blue", "white"]
    assert answerer.generate(images, ["what colour is the ground"] * 4) == names
    Image.new("RGB", (40, 20), (0, 0, 255)).save(tmp_path / "blue.png")
    asked = ["ask", str(tmp_path / "blue.png"), "what colour is the ground"]
    said = invoke(*asked, "--model", tmp_path / "out").output.splitlines()
    assert [line.split()[-1] for line in said if line.startswith("what")] == ["blue"]
    measured = invoke("evaluate", tmp_path / "q.parquet", "--vqa", tmp_path / "out", "--out", tmp_path / "a.json")
    assert measured.exit_code == 0, measured.output
    answers = json.loads((tmp_path / "a.json").read_text())["answers"]
    assert answers["questions"] == 128
    assert answers["by_kind"].keys() == {"other", "yes/no"}
    assert answers["by_kind"]["other"] == 1
    refused = invoke(*asked, "--model", tmp_path / "start")
    assert (refused.exit_code, "not a VQA model" in refused.output) == (2, True)
    assert answerer.rank(images, ["what colour is the ground"] * 4, ["no", *reversed(names), "yes"], most=3) == names


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"format": "capfilt-med"}))
    with pytest.raises(ModelError, match="not a VQA model"):
        load_vqa(tmp_path)


def test_questions_and_answers_are_cut_and_cleaned_as_in_blip_s_code() -> None:
    assert clean_answer("At 10:30 A.M.!") == "at 10:30 a.m.!"
    assert len(clean_question("word " * 60).split()) == 50
    assert (BEAMS, SMOOTHING, RANKED, QUESTION_TOKENS, ANSWER_TOKENS) == (3, 0.1, 128, 35, 10)


def test_answers_are_searched_by_beams_and_ranked_by_the_smoothed_loss(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor
) -> None:
    """Three beams find what no greedy search beats; the ranks are those of all answers read one by one."""
    torch.manual_seed(1)
    answerer = Answerer(VQA(med), tokenizer)
    asked, answers = ["the cat", "two blue squares", "a mat"], ["a red circle", "two", "the cat sat", "green", "a star"]
    states, mask = answerer._read(images[:3], asked)

    def losses(texts: list[str], smoothing: float) -> list[float]:
        ids, _ = tokenizer.encode(texts, DEC, ANSWER_TOKENS + 2, clean_answer)
        owner = torch.arange(3).repeat_interleave(len(texts) // 3)
        with torch.no_grad():
            found = answer_losses(answerer.model.answer_logits(ids, states[owner], mask[owner]), ids, smoothing)
        return found.tolist()

    table = torch.tensor(losses(answers * 3, SMOOTHING)).view(3, -1)
    assert answerer.rank(images[:3], asked, answers) == [answers[k] for k in table.argmin(1).tolist()]
    with torch.no_grad():
        greedy, beams = (search_answers(answerer.model, states, mask, tokenizer.ids, k) for k in (1, 3))
    for row, (one, best) in enumerate(zip(greedy, beams, strict=True)):
        means = []
        for ids in (one, best):
            said = torch.tensor([[tokenizer.ids[DEC], *[i for i in ids if i]]])
            with torch.no_grad():
                logits = answerer.model.answer_logits(said, states[row : row + 1], mask[row : row + 1])
            means.append(float(answer_losses(logits, said)) / (said.shape[1] - 1))
        assert means[1] <= means[0] + 1e-4
