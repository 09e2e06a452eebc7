"""`capfilt evaluate` with the models that ship, on a few pictures of the demo's world."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.commands.try_models import score_texts
from capfilt.core.config import Recipe
from capfilt.core.errors import InputError
from capfilt.demo.world.dataset import write_pairs
from capfilt.pipelines.evaluation.evaluate import evaluate
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


def test_a_picture_that_cannot_be_read_is_told(pairs_file: Path, tmp_path: Path) -> None:
    rows = pq.read_table(pairs_file)
    broken = rows.slice(0, 3).to_pylist()
    broken[1]["image"]["bytes"] = b"no picture at all"
    broken[2]["captions"] = [{"text": "a dog", "source": "web"}]
    pq.write_table(pa.Table.from_pylist(broken, rows.schema), tmp_path / "broken.parquet")
    measured = evaluate([str(tmp_path / "broken.parquet")], judging())
    assert measured.pictures == 1
    assert measured.left_out == {"not_an_image": 1}


def test_without_human_captions_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    rows = {"image": [b"x"], "captions": [[{"text": "a dog", "source": "web"}]]}
    pq.write_table(pa.table(rows), tmp_path / "web.parquet")
    with pytest.raises(InputError, match="no picture has a human caption"):
        evaluate([str(tmp_path / "web.parquet")], judging())
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    with pytest.raises(InputError, match="no column captions, image"):
        evaluate([str(tmp_path / "text.parquet")], judging())


def test_neither_model_is_a_mistake(pairs_file: Path) -> None:
    done = invoke("evaluate", str(pairs_file))
    assert done.exit_code == 2
