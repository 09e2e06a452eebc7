"""Two models on one test set: the difference of their means, and an interval that holds the truth."""

import numpy as np
import pytest
from scipy.special import ndtr

from capfilt.core.errors import ModelError
from capfilt.pipelines.evaluation.paired import PerQuery, differences, paired_difference


def test_the_interval_of_paired_queries_holds_the_truth_and_is_narrow() -> None:
    """120 test sets of 60 images with 3 texts each; the better model finds 10 % of the texts that the other misses."""
    rng = np.random.default_rng(3)
    image = np.repeat(np.arange(60), 3)
    held, widths = 0, []
    for _ in range(120):
        hard = rng.random(60)[image]  # an image is hard for both models
        theirs = rng.random(180) > hard
        ours = theirs | (rng.random(180) < 0.1)
        one = paired_difference(ours, theirs, image.tolist())
        held += one.low <= 0.05 <= one.high  # half of the texts are missed, 10 % of these found
        widths.append(one.high - one.low)
    assert held >= 102  # 95 % of 120 are 114; a percentile interval of 60 images holds a little less
    assert np.mean(widths) < 0.09  # of one mean alone it is 0.2


def test_recalls_are_compared_query_by_query() -> None:
    ours = {"tr": [0.0, 0.0, 3.0], "ir": [0.0, 0.0, 0.0, 7.0]}
    theirs = {"tr": [0.0, 6.0, 3.0], "ir": [0.0, 1.0, 0.0, 7.0]}
    found = differences(
        PerQuery(ranks=ours, owner=(0, 1, 1, 2)), PerQuery(ranks=theirs, owner=(0, 1, 1, 2)), (1, 5, 10)
    )
    assert found["tr_1"].mean == found["tr_5"].mean == pytest.approx(1 / 3)
    assert found["ir_1"].mean == 0.25
    assert found["ir_1"].low <= 0.25 <= found["ir_1"].high
    assert found["ir_10"].mean == found["ir_10"].low == found["ir_10"].high == 0


def test_the_interval_of_an_auc_holds_the_truth() -> None:
    """12 test sets of 40 images, a right and a wrong text each, under a judge of AUC .84 and one of AUC .76."""
    rng, held = np.random.default_rng(4), 0
    right, image = (True, False) * 40, tuple(np.repeat(np.arange(40), 2).tolist())
    for _ in range(12):
        shift = np.where(right, 1.0, 0.0)
        ours, theirs = (
            PerQuery(scores={"itm": (rng.normal(size=80) + size * shift).tolist()}, right=right, image=image)
            for size in (1.4, 1.0)
        )
        one = differences(ours, theirs, (1,))["auc_itm"]
        held += one.low <= ndtr(1.4 / 2**0.5) - ndtr(1.0 / 2**0.5) <= one.high
    assert held >= 10


def test_captions_and_classes_are_compared_image_by_image() -> None:
    found = differences(
        PerQuery(cider=(1.0, 2.0, 3.0), hits=(True, True, False)),
        PerQuery(cider=(1.0, 1.0, 3.0), hits=(True,) * 3),
        (1,),
    )
    assert found["cider"].mean == pytest.approx(1 / 3)
    assert found["accuracy"].mean == pytest.approx(-1 / 3)
    assert found["accuracy"].low <= -1 / 3 <= found["accuracy"].high == 0


def test_what_cannot_be_compared_is_one_line() -> None:
    with pytest.raises(ModelError, match="--against: the two models have no measure in common"):
        differences(PerQuery(scores={"clip": [0.5]}), PerQuery(scores={"itm": [0.5]}), (1,))
    with pytest.raises(ModelError, match="could not use the same images"):
        differences(PerQuery(uids=("a",), cider=(1.0,)), PerQuery(uids=("a", "b"), cider=(1.0, 2.0)), (1,))
