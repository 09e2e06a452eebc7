"""The accuracy of the VQA challenge."""

import pytest

from capfilt.pipelines.evaluation.vqa import normalize_answer, vqa_accuracy


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The Dog.", "dog"),
        ("10:30", "10:30"),
        ("3.5", "3.5"),
        ("1,000", "1000"),
        ("black/white", "black white"),
        ("yes, sir!", "yes sir"),
        ("two", "2"),
        ("None", "0"),
        ("dont know", "don't know"),
        ("an  apple\tand a pear", "apple and pear"),
        ("red-and-white", "red and white"),
    ],
)
def test_answers_are_compared_as_in_the_challenge(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(("same", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_an_answer_is_as_right_as_people_agree(same: int, accuracy: float) -> None:
    """Of ten people, each left out once: the published table 0, .3, .6, .9, 1."""
    people = ["a cat"] * same + ["dog"] * (10 - same)
    assert vqa_accuracy("cat", people) == pytest.approx(accuracy)


def test_the_answer_of_one_person_is_right_or_wrong() -> None:
    assert (vqa_accuracy("Two", ["2"]), vqa_accuracy("3", ["2"])) == (1.0, 0.0)
