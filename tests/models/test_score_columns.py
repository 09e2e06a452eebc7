"""What a score column means is read off its name, tags and plug-ins included."""

import pytest

from capfilt.models.score_columns import COSINE, KINDS, MATCHING, kind_of


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("itm", "probability"),
        ("itm_large", "probability"),
        ("itm_a_b", "probability"),
        ("itc", "cosine"),
        ("clip_2", "cosine"),
        ("itmx", None),
        ("mine", None),
        ("mine_itm", None),
    ],
)
def test_a_tag_does_not_change_what_a_column_means(column: str, kind: str | None) -> None:
    assert kind_of(column) == kind


def test_every_column_of_a_built_in_judge_has_a_kind() -> None:
    assert {*MATCHING, *COSINE} == set(KINDS)
