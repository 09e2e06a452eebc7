"""Sentences of a text, and judges that score them one by one."""

from pathlib import Path

import pytest
import torch

from capfilt.core.config import Recipe, ScoreSettings
from capfilt.models.judges.med import MedJudge
from capfilt.models.judges.sentences import MOST, by_sentence, sentences
from capfilt.models.judges.tagged import tagged
from capfilt.models.med.model import MED
from capfilt.models.pixels import Box, PixelSpec
from capfilt.models.protocols import RegionJudge
from capfilt.models.registry import registry
from capfilt.models.tokenizer import Tokenizer
from capfilt.pipelines.stages.stage_models import score_columns


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a red circle", ["a red circle"]),
        ("A dog. A cat!  Is it?", ["A dog.", "A cat!", "Is it?"]),
        ("Shelf of 3.5 m, etc. and more. New.", ["Shelf of 3.5 m, etc. and more.", "New."]),
        ("Dr. Smith meets J. Doe at No. 5. It rains.", ["Dr. Smith meets J. Doe at No. 5.", "It rains."]),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ("Une rue. Éclairée la nuit.", ["Une rue.", "Éclairée la nuit."]),
        ("一只狗。一只猫\uff01", ["一只狗。", "一只猫\uff01"]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("a dog ... !!", ["a dog ..."]),
        ("...", []),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_sees_an_end(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


def test_a_long_text_has_the_lowest_and_the_mean_score_of_its_sentences(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor
) -> None:
    judge = MedJudge("test", "0", med, tokenizer, "enc")
    parts = ["A red circle.", "Two blue squares.", "The cat."]
    whole = " ".join(parts)
    texts = [[whole, "a red circle"], [], ["a green star"]]
    found = by_sentence(judge).score(images[:3], texts)
    assert tuple(found) == ("itm", "itc", "itm_min", "itm_mean", "itc_min", "itc_mean")
    plain, alone = judge.score(images[:3], texts), judge.score(images[:1], [parts])
    for name in judge.columns:
        assert [len(row) for row in found[f"{name}_min"]] == [2, 0, 1]
        for own, same in zip(found[name], plain[name], strict=True):
            assert own == pytest.approx(same, abs=1e-5)
        assert found[f"{name}_min"][0][0] == pytest.approx(min(alone[name][0]), abs=1e-5)
        assert found[f"{name}_mean"][0][0] == pytest.approx(sum(alone[name][0]) / 3, abs=1e-5)
        assert found[f"{name}_min"][2] == found[f"{name}_mean"][2] == found[name][2]


class Widths:
    """A judge of regions: its score is the width of the box, NaN where a text has the word odd."""

    name, digest, columns, pixels = "widths", "0", ("width",), PixelSpec(16)

    def score(self, images: torch.Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        return {"width": [[float("nan") if "odd" in text else float(len(text)) for text in own] for own in texts]}

    def score_regions(
        self, images: torch.Tensor, texts: list[list[str]], boxes: list[list[Box | None]]
    ) -> dict[str, list[list[float]]]:
        return {"width": [[1.0 if box is None else box[2] - box[0] for box in own] for own in boxes]}


def test_a_sentence_is_about_the_region_of_its_text() -> None:
    judge = by_sentence(tagged(Widths(), ("width_b",)))
    assert isinstance(judge, RegionJudge)
    found = judge.score_regions(torch.zeros(1), [["One. Two.", "one"]], [[(0.0, 0.0, 0.5, 1.0), None]])
    assert found == {name: [[0.5, 1.0]] for name in ("width_b", "width_b_min", "width_b_mean")}


@pytest.mark.parametrize("text", ["Odd ones? odd. Even.", "Even. An odd one."])
def test_a_sentence_without_a_score_leaves_none(text: str) -> None:
    found = by_sentence(Widths()).score(torch.zeros(1), [[text]])
    assert all(value != value for name in ("width_min", "width_mean") for value in found[name][0])


def test_sentences_beyond_the_limit_are_told(med: MED, tokenizer: Tokenizer) -> None:
    judge = by_sentence(Widths())
    assert not judge.cuts("Yes. " * MOST)
    assert judge.cuts("Yes. " * (MOST + 1))
    assert by_sentence(MedJudge("test", "0", med, tokenizer, "enc")).cuts("a red circle " * 20)


def test_the_columns_are_known_before_a_judge_is_loaded(checkpoint: Path) -> None:
    recipe = Recipe(score=ScoreSettings(judges=(f"b={checkpoint}",), sentences=True))
    names = ["itm_b", "itc_b", "itm_b_min", "itm_b_mean", "itc_b_min", "itc_b_mean"]
    assert score_columns(recipe) == names
    assert list(registry.load_judge(f"b={checkpoint}", registry.Placement(sentences=True)).columns) == names
