"""`capfilt evaluate` with the models that ship, on a few pictures of the demo's world."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from capfilt.cli import app
from capfilt.commands.try_models import score_texts
from capfilt.core.config import Recipe
from capfilt.core.errors import InputError, ModelError
from capfilt.demo.world.dataset import write_pairs
from capfilt.pipelines.evaluation.captions import bleu, cider, words
from capfilt.pipelines.evaluation.evaluate import _check_finite, _Collected, _notes, evaluate
from capfilt.pipelines.recipes.load import load_recipe
from command_line import invoke


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("test") / "test.parquet"
    write_pairs(path, 12, seed=5)
    return path


def test_what_is_measured(pairs_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "scores.json"
    asked = ["evaluate", str(pairs_file), "--captioner", "demo-captioner", "--judge", "demo-filter", "--out", str(out)]
    done = invoke(*asked)
    assert done.exit_code == 0, done.output
    assert "12 images, 36 human captions, 48 wrong texts" in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    told = json.loads(out.read_text())
    assert told["captioner"] == "demo-captioner"
    assert told["captions"]["bleu_4"] > 0.5
    assert told["captions"]["cider"] > 2
    assert told["auc"]["itm"] > 0.8
    assert told["retrieval"]["tr_1"] > 0.8
    assert told["retrieval"]["ir_1"] <= told["retrieval"]["ir_5"] <= told["retrieval"]["ir_10"]
    assert told["drawn"]["vocabulary"] > 15
    assert told["human"]["words"] > 8


def judging(**more: str) -> Recipe:
    return load_recipe("blip", ("caption.n=0", 'score.judges=["demo-filter"]', *more.values()))


def test_auc_is_the_share_of_right_texts_above_wrong_ones(pairs_file: Path, tmp_path: Path) -> None:
    """Each text scored alone, each pair of a right and a wrong one counted."""
    measured = evaluate([str(pairs_file)], judging(), limit=3)
    assert (measured.pictures, measured.texts, measured.wrong) == (3, 9, 12)
    assert not measured.captions
    right, wrong = [], []
    for number, row in enumerate(pq.read_table(pairs_file).to_pylist()[:3]):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(row["image"]["bytes"])
        texts = [c["text"] for c in row["captions"] if c["source"] == "human"]
        _, scored = score_texts(path, [*texts, *row["wrong"]], judging())
        right += [found["itm"] for found in scored[: len(texts)]]
        wrong += [found["itm"] for found in scored[len(texts) :]]
    above = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    assert measured.auc["itm"] == pytest.approx(sum(above) / len(above))


def test_beams_are_for_the_likeliest_captions_alone(pairs_file: Path) -> None:
    """Captions whose diversity is told are drawn, whatever measures BLEU."""

    def measured(*more: str) -> Any:
        recipe = load_recipe("blip", ('caption.captioner="demo-captioner"', "score.judges=[]", *more))
        return evaluate([str(pairs_file)], recipe, limit=4)

    greedy, beams = measured(), measured("caption.beams=3")
    assert greedy.drawn == beams.drawn
    assert greedy.captions != beams.captions


def test_a_picture_that_cannot_be_read_is_told(pairs_file: Path, tmp_path: Path) -> None:
    rows = pq.read_table(pairs_file)
    broken = rows.slice(0, 3).to_pylist()
    broken[1]["image"]["bytes"] = b"no picture at all"
    broken[2]["captions"] = [{"text": "a dog", "source": "web"}]
    pq.write_table(pa.Table.from_pylist(broken, rows.schema), tmp_path / "broken.parquet")
    measured = evaluate([str(tmp_path / "broken.parquet")], judging())
    assert measured.pictures == 1
    assert measured.left_out == {"not_an_image": 1, "no human caption": 1}


def test_without_human_captions_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    rows = {"image": [b"x"], "captions": [[{"text": "a dog", "source": "web"}]]}
    pq.write_table(pa.table(rows), tmp_path / "web.parquet")
    with pytest.raises(InputError, match="no image has a human caption"):
        evaluate([str(tmp_path / "web.parquet")], judging())
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    with pytest.raises(InputError, match="no column captions, image"):
        evaluate([str(tmp_path / "text.parquet")], judging())


def test_neither_model_is_a_mistake(pairs_file: Path) -> None:
    done = invoke("evaluate", str(pairs_file))
    assert done.exit_code == 2


def test_a_published_filter_is_measured_in_retrieval(published: Callable[[str], Path], pairs_file: Path) -> None:
    """Its weights have no temperature, which training alone needs."""
    recipe = load_recipe("blip", ("caption.n=0", f'score.judges=["{published("blip-itm")}"]'))
    measured = evaluate([str(pairs_file)], recipe, limit=4)
    assert set(measured.retrieval) == {f"{side}_{at}" for side in ("tr", "ir") for at in (1, 5, 10)}
    assert set(measured.auc) == {"itm", "itc"}


def test_two_judges_are_compared_on_the_same_images(
    pairs_file: Path, tmp_path: Path, published: Callable[[str], Path]
) -> None:
    judge, out = str(published("blip-itm")), tmp_path / "a.json"
    asked = ("evaluate", str(pairs_file), "--judge", judge, "--against", "demo-filter", "--limit", "4")
    done = invoke(*asked, "--out", str(out))
    assert done.exit_code == 0, done.output
    told = json.loads(out.read_text())
    assert told["differences"].keys() == told["retrieval"].keys() | {"auc_itm", "auc_itc"}
    assert all(one["low"] <= one["mean"] <= one["high"] for one in told["differences"].values())
    mean = f"{100 * told['differences']['tr_1']['mean']:+.1f}"
    assert re.search(rf"TR R@1 +{re.escape(mean)} +\S+ to \S+\n", done.output)
    alone = CliRunner().invoke(app, ["evaluate", str(pairs_file), "--vqa", "x", "--against", "demo-filter"])
    assert (alone.exit_code, "--against needs --judge or --captioner" in alone.stderr) == (2, True)


def test_two_captioners_are_compared_image_by_image(pairs_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    asked = ("evaluate", pairs_file, "--captioner", "demo-captioner", "--against", "demo-captioner", "--limit", "3")
    done = invoke(*asked, "--out", out)
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["differences"] == {"cider": {"mean": 0, "low": 0, "high": 0}}


def rewritten(pairs_file: Path, path: Path, column: str, change: Callable[[Any], Any], kind: pa.DataType) -> Path:
    table = pq.read_table(pairs_file)
    values = pa.array([change(value) for value in table[column].to_pylist()], kind)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), path)
    return path


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (lambda own: [c["text"] for c in own], pa.list_(pa.string()), "column captions is list<.*>, not a list of"),
        (lambda own: own[0]["text"], pa.string(), "column captions is string, not a list of captions"),
        (
            lambda own: [{"text": c["text"]} for c in own],
            pa.list_(pa.struct({"text": pa.string()})),
            "captions have no source; they have text",
        ),
    ],
)
def test_captions_in_another_form_are_one_line_as_in_training(
    pairs_file: Path, tmp_path: Path, change: Callable[[list[dict[str, str]]], object], kind: pa.DataType, said: str
) -> None:
    path = rewritten(pairs_file, tmp_path / "other.parquet", "captions", change, kind)
    done = CliRunner().invoke(app, ["evaluate", str(path), "--judge", "demo-filter"])
    assert done.exit_code == 2
    assert re.search(said, " ".join(done.stderr.split()))


def test_what_says_little_or_is_missing_is_told(
    pairs_file: Path, tmp_path: Path, published: Callable[[str], Path]
) -> None:
    captions = pa.list_(pa.struct({"text": pa.string(), "source": pa.string()}))
    seen = iter(range(100))
    path = rewritten(
        pairs_file, tmp_path / "some.parquet", "captions", lambda own: own if next(seen) % 2 else [], captions
    )
    path = rewritten(path, tmp_path / "none_wrong.parquet", "wrong", lambda own: [], pa.list_(pa.string()))
    recipe = load_recipe("blip", ("caption.n=0", f'score.judges=["{published("clip-transformers")}"]'))
    measured = evaluate([str(path)], recipe)
    assert (measured.pictures, measured.left_out) == (6, {"no human caption": 6})
    told = ["no AUC", "IR R@10 says nothing of 6 images", "18 of 18 texts are longer than clip-transformers reads"]
    assert [note.split(":")[0] for note in measured.notes] == told
    assert {f"{side}_{at}" for side in ("tr", "ir") for at in (1, 5, 10)} == measured.retrieval.keys()
    blip2 = load_recipe("blip", ("caption.n=0", f'score.judges=["{published("blip2-itm")}"]'))
    assert evaluate([str(pairs_file)], blip2, limit=2).notes[-1].startswith("no retrieval: blip2-itm has no features")
    alone = evaluate([str(pairs_file)], load_recipe("demo", ("score.judges=[]",)), limit=1)
    assert not alone.captions
    assert "say nothing of one image" in alone.notes[0]


def captioned(pairs_file: Path, path: Path, *texts: str | None) -> Path:
    kind = pa.list_(pa.struct({"text": pa.string(), "source": pa.string()}))
    own = [{"text": text, "source": "human"} for text in texts]
    return rewritten(pairs_file, path, "captions", lambda _: own, kind)


@pytest.mark.parametrize(
    ("texts", "notes"),
    [
        (["a dog"], ["retrieval says nothing: every text is right for every image"]),
        (["a dog", "a cat"], ["retrieval says nothing: every text is right for every image"]),
        (
            ["\u4e00\u53ea\u68d5\u8272\u7684\u72d7"],
            ["retrieval says", "100% of the texts is unknown to the vocabulary"],
        ),
        (["a dog runs " * 20], ["retrieval says", "2 of 2 texts are longer than demo-filter reads"]),
    ],
)
def test_what_a_judge_cannot_tell_apart_or_read_is_told(
    texts: list[str], notes: list[str], pairs_file: Path, tmp_path: Path
) -> None:
    found = evaluate([str(captioned(pairs_file, tmp_path / "a.parquet", *texts))], judging(), limit=2).notes
    assert all(any(note.startswith(start) for note in found) for start in notes), found


def test_recalls_that_any_judge_reaches_are_told(pairs_file: Path) -> None:
    found = evaluate([str(pairs_file)], judging(), limit=3).notes
    assert "IR R@5 says nothing of 3 images: all are among the first 5" in found


def test_captions_in_another_language_than_the_human_ones_are_told(pairs_file: Path, tmp_path: Path) -> None:
    path = captioned(pairs_file, tmp_path / "a.parquet", "\u4e00\u53ea\u68d5\u8272\u7684\u72d7")
    measured = evaluate([str(path)], load_recipe("demo", ("score.judges=[]",)), limit=2)
    assert measured.captions == {"bleu_4": 0, "cider": 0}
    assert any("is it another language?" in note for note in measured.notes)


def test_blank_captions_are_none(pairs_file: Path, tmp_path: Path) -> None:
    path = captioned(pairs_file, tmp_path / "blank.parquet", "  ", "", None)
    with pytest.raises(InputError, match="no image has a human caption"):
        evaluate([str(path)], judging())
    with pytest.raises(InputError, match=r"none\.parquet: no such file or folder"):
        evaluate([str(tmp_path / "none.parquet")], judging())


def test_a_score_that_is_not_finite_is_refused_and_a_constant_one_is_named() -> None:
    with pytest.raises(ModelError, match="itm is no finite number for 1 of 2 texts"):
        _check_finite({"itm": [0.5, float("nan")]})
    same = _Collected(right=[True, False], scores={"itm": [0.5, 0.5]})
    assert list(_notes(same, [], [])) == ["itm is 0.5 for every text: it tells nothing apart"]


def test_chinese_captions_are_counted_in_characters() -> None:
    own, other = "\u4e00\u53ea\u68d5\u8272\u7684\u72d7", "\u4e00\u53ea\u732b"
    assert words(f"{own} x2") == [*own, "x2"]
    assert bleu([own, other], [[own], [other]], most=2) == pytest.approx(1.0)
    assert cider([own, other], [[own], [other]]) > 5
