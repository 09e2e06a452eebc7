"""A captioner that does not caption is found out on two plain pictures."""

from collections.abc import Callable
from pathlib import Path

import pytest

from capfilt.core.errors import ModelError
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Decoding
from capfilt.models.registry import registry
from capfilt.models.registry.probe import is_one_word_again_and_again, plain_pictures, probe


def test_one_that_repeats_is_named_and_quoted(published: Callable[[str], Path]) -> None:
    captioner = registry.load_captioner(str(published("blip-dai-dai")))
    with pytest.raises(ModelError, match=r"captioner 'blip-dai-dai' says 'dai dai dai .* but not to caption"):
        probe(captioner, "a picture of", Decoding())


@pytest.mark.parametrize("name", ["blip", "qwen2-vl"])
def test_others_pass(published: Callable[[str], Path], name: str) -> None:
    probe(registry.load_captioner(str(published(name))), "", Decoding(max_tokens=12))


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("dai dai dai", True),
        ("daidaidaidai", True),
        ("the the the the", True),
        ("1 1 1 1", True),
        ("a dog on a hill", False),
        ("dai dai", False),
        ("dai dai dai a dog", False),
        ("", False),
    ],
)
def test_what_counts_as_repeating(text: str, repeats: bool) -> None:
    assert is_one_word_again_and_again(text) is repeats


def test_plain_pictures_are_as_the_captioner_wants_them() -> None:
    squares = plain_pictures(PixelSpec(32))
    assert not isinstance(squares, list)
    assert squares.shape == (2, 32, 32, 3)
    anything = plain_pictures(PixelSpec(96, "fit"))
    assert isinstance(anything, list)
    assert [picture.shape for picture in anything] == [(96, 96, 3)] * 2
