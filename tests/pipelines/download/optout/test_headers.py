"""The refusal rule against the real one of img2dataset."""

import ast
import importlib.util
import itertools
import traceback
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capfilt.pipelines.download.optout.headers import opted_out, robot_name

DIRECTIVES = ["noai", "noimageai", "noindex", "NoImageIndex", "nofollow", "none", "all", "noaix", ""]
PREFIXES = ["", "capfilt:", "capfilt: ", "CapFilt: ", "otherbot: ", "googlebot:", ": "]
SHAPES = ["{0}", " {0} ", "{0}, {1}", "{0},{1}", "{0}: 1", "{1} {0}", "{0}, otherbot: {1}"]
VALUES = [
    prefix + shape.format(*pair)
    for prefix, shape, pair in itertools.product(PREFIXES, SHAPES, itertools.product(DIRECTIVES, DIRECTIVES))
]


def is_disallowed(value: str) -> bool:
    """img2dataset's verdict on one header."""
    headers = Message()
    headers["X-Robots-Tag"] = value
    return bool(THEIRS(headers, "capfilt", {"noai", "noimageai", "noindex", "noimageindex"}))


def theirs() -> Callable[..., bool]:
    """The function out of the installed package's source: importing it takes 700 MB, and fails on Python 3.13."""
    spec = importlib.util.find_spec("img2dataset")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "downloader.py").read_text(encoding="utf-8")
    [function] = [node for node in ast.parse(source).body if getattr(node, "name", "") == "is_disallowed"]
    names: dict[str, Any] = {"traceback": traceback}
    exec(compile(ast.Module([function], []), "is_disallowed", "exec"), names)
    rule: Callable[..., bool] = names["is_disallowed"]
    return rule


THEIRS = theirs()


def test_the_same_verdict_as_img2dataset_but_for_colons_after_the_first_directive() -> None:
    verdicts = {value: (is_disallowed(value), opted_out([value], "capfilt")) for value in VALUES}
    differs = {value for value, (their, our) in verdicts.items() if their != our}
    assert sum(their for their, _ in verdicts.values()) > 100
    assert all("," in value.partition(":")[0] and verdicts[value] == (False, True) for value in differs)


@given(st.text(st.sampled_from("noaimgedx,: \tNCcapfilt;"), max_size=40) | st.sampled_from(VALUES))
def test_never_less_strict_than_img2dataset(value: str) -> None:
    assert opted_out([value], "capfilt") >= is_disallowed(value)


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ("noai", True),
        ("NOAI, nofollow", True),
        ("max-snippet: 20, noimageai", True),
        ("noai, unavailable_after: 25 Jun 2030 15:00:00 PST", True),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST", False),
        ("capfilt: noindex", True),
        ("capfilt : noindex", True),
        ("otherbot: noindex", False),
        ("nofollow", False),
        ("", False),
    ],
)
def test_the_rule(value: str, refused: bool) -> None:
    assert opted_out([value], "capfilt") is refused
    assert opted_out(["all", value], "capfilt") is refused


@given(st.lists(st.text()))
def test_no_header_breaks_it(values: list[str]) -> None:
    assert opted_out([*values, "noai"], "capfilt")


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [("capfilt/0.1 (image-text curation)", "capfilt"), ("My-Bot", "my-bot"), ("A b/2", "a"), ("", ""), ("/1", "")],
)
def test_robot_name(user_agent: str, name: str) -> None:
    assert robot_name(user_agent) == name
