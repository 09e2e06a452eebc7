"""Judges, checkpoints and the registry."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from capfilt.core.errors import ModelError
from capfilt.models.formats.weights import load_med, save_med
from capfilt.models.judges.med import MedJudge
from capfilt.models.med.config import SIZES
from capfilt.models.med.model import MED
from capfilt.models.registry import registry
from capfilt.models.registry.resolve import CHECKPOINTS
from capfilt.models.tokenizer import CLS, DEC, ENC, Tokenizer, clean_text


def test_scores_do_not_depend_on_company(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    judge = MedJudge("test", "0", med, tokenizer, "enc")
    texts = [["a red circle"], [], ["two blue squares", "the cat", "on a mat above a green star"]]
    scores = judge.score(images[:3], texts)
    assert [[len(row) for row in scores[name]] for name in judge.columns] == [[1, 0, 3]] * 2
    for row, own in enumerate(texts):
        for k, text in enumerate(own):
            alone = judge.score(images[row : row + 1], [[text]])
            for name in judge.columns:
                assert alone[name][0][0] == pytest.approx(scores[name][row][k], abs=1e-5)
    assert judge.score(images[:2], [[], []]) == {"itm": [[], []], "itc": [[], []]}


def test_enc_and_cls_are_two_conventions(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    """The paper's filter reads from [ENC]; code that leaves [CLS] there gives other scores."""
    texts = [["a red circle on a mat"]]
    by_first = {
        first: MedJudge("test", "0", med, tokenizer, first).score(images[:1], texts)  # type: ignore[arg-type]
        for first in ("enc", "cls")
    }
    assert by_first["enc"]["itm"] != by_first["cls"]["itm"]
    assert by_first["enc"]["itc"] == by_first["cls"]["itc"]
    ids, _ = tokenizer.encode(texts[0], ENC, 35)
    assert int(ids[0, 0]) == tokenizer.ids[ENC] != tokenizer.ids[CLS] != tokenizer.ids[DEC]


def test_a_checkpoint_comes_back_as_it_was(med: MED, tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_med(tmp_path / "m", med, tokenizer, ("captioner",))
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    again, words = load_med(tmp_path / "m")
    assert all(torch.equal(a, b) for a, b in zip(med.state_dict().values(), again.state_dict().values(), strict=True))
    assert words.encode(["a red cat"], ENC, 9)[0].tolist() == tokenizer.encode(["a red cat"], ENC, 9)[0].tolist()


def test_a_checkpoint_with_the_old_name_of_a_tensor_still_loads(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Those that ship have it: `place` in the configuration, `vision.place` in the weights."""
    med = MED(replace(SIZES["med-tiny"], vocab_size=len(tokenizer)))
    save_med(tmp_path, med, tokenizer, ("captioner",))
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["place"] = settings.pop("output_pos_embed")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    weights = load_file(tmp_path / "model.safetensors")
    weights["vision.place"] = weights.pop("vision.output_pos_embed") + 1
    save_file(weights, tmp_path / "model.safetensors")
    again, _ = load_med(tmp_path)
    assert torch.equal(again.vision.output_pos_embed, weights["vision.place"])
    assert again.config == med.config
    shipped = json.loads((CHECKPOINTS / "demo-captioner" / "config.json").read_text())
    assert shipped["place"] == load_med(CHECKPOINTS / "demo-captioner")[0].config.output_pos_embed


def test_wrong_role_missing_and_broken_checkpoints_are_named(med: MED, tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "only-filter"
    save_med(folder, med, tokenizer, ("filter",))
    assert registry.check(str(folder), "filter") == registry.load_judge(str(folder)).digest
    with pytest.raises(ModelError, match=r"only-filter.*is not a captioner; it is a filter"):
        registry.load_captioner(str(folder))
    with pytest.raises(ModelError, match="'nobody' is neither a directory"):
        registry.load_judge("nobody")
    (folder / "model.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(ModelError, match="only-filter"):
        registry.load_judge(str(folder))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"colour": 1}))
    with pytest.raises(ModelError, match="unknown fields colour"):
        registry.check(str(folder), "filter")


def test_clean_text_is_the_paper_s() -> None:
    assert clean_text('  "A Dog!"  runs (fast); #1 ~ *wow*: end. ') == "a dog runs fast 1 wow end"
    assert len(clean_text("word " * 100).split()) == 30


@pytest.mark.parametrize("most", [200_000, 3])
def test_word_by_word_a_text_is_what_it_is_as_a_whole(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("capfilt.models.tokenizer.MAX_CACHED_WORDS", most)
    odd = [
        "",
        "a",
        "it's a-b,c",
        "two\u3000blue\tsquares",
        "猫 cat\x00 s\u200bat",
        "[SEP] [sep] naïve ÉTÉ 7x7",
        "a " * 50,
    ]
    for texts in (odd, odd[::-1], ["the cat sat on a mat", "one unseen word"]):
        ids, mask = tokenizer.encode(texts, ENC, 99)
        whole = [tokenizer.backend.encode(clean_text(text), add_special_tokens=False).ids for text in texts]
        assert [row[own].tolist()[1:-1] for row, own in zip(ids, mask, strict=True)] == whole


def test_any_text_can_be_read(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer.encode(["", "\U0001f600 caf\u00e9 \x00", "x" * 5000, "red"], ENC, 35)
    assert ids.shape == mask.shape == (4, ids.shape[1])
    assert ids.shape[1] <= 35
    assert tokenizer.decode(tokenizer.encode(["a red circle"], ENC, 35)[0][0].tolist()) == "a red circle"
