"""What the shipped models promise of the demo, held against the world's truth."""

import pytest

from capfilt.demo.runner import demo
from capfilt.demo.summary import DemoSummary
from capfilt.pipelines.recipes.load import load_recipe


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> DemoSummary:
    """A demo of other pictures than `capfilt demo` shows by default, and than the models were trained on."""
    recipe = load_recipe("demo", ("engine.kind='local'", "engine.threads=1", "input.chunk_rows=400", "fetch.timeout=6"))
    return demo(tmp_path_factory.mktemp("quality") / "out", images=400, seed=77, recipe=recipe).summary


@pytest.mark.slow
def test_wrong_texts_among_the_kept_of_the_web_are_at_most_a_fifth_of_those_before(summary: DemoSummary) -> None:
    assert summary.wrong_before is not None
    assert 0.4 < summary.wrong_before < 0.6
    assert summary.web.kept_wrong_share is not None
    assert summary.web.kept_wrong_share <= summary.wrong_before / 5


def test_most_right_web_texts_are_kept(summary: DemoSummary) -> None:
    assert summary.web.right_kept_share is not None
    assert summary.web.right_kept_share >= 0.8


def test_kept_synthetic_captions_are_right(summary: DemoSummary) -> None:
    assert summary.synthetic.kept > 400 / 4
    assert summary.synthetic.kept_wrong_share is not None
    assert summary.synthetic.kept_wrong_share <= 0.1


def test_wrong_texts_among_all_kept_are_at_most_a_fifth_of_those_before(summary: DemoSummary) -> None:
    assert summary.wrong_before is not None
    assert summary.wrong_after is not None
    assert summary.wrong_after <= summary.wrong_before / 5
