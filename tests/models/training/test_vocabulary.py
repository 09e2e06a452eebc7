"""Texts that a checkpoint's vocabulary does not know: nothing can be learned of them."""

import warnings

import pytest

from capfilt.core.errors import ConfigError, UnknownWords
from capfilt.models.tokenizer import Tokenizer
from capfilt.models.training.checks import check_vocabulary

ENGLISH = ["a red circle", "two blue squares", "one green star above a red circle"] * 10


@pytest.mark.parametrize(
    "text", ["\u4e00\u53ea\u68d5\u8272\u7684\u72d7", "\u0441\u043e\u0431\u0430\u043a\u0430", "\u72ac\u304c\u5ea7\u308b"]
)
def test_a_language_that_is_unknown_is_refused(text: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"\d+% of the texts is unknown to .* more than model.max_unknown"):
        check_vocabulary(tokenizer, [text] * 40, 0.5)


def test_some_of_it_is_told(tokenizer: Tokenizer) -> None:
    mixed = [*ENGLISH, *["\u72d7"] * 12]
    with pytest.warns(UnknownWords, match="% of the texts is unknown to the vocabulary"):
        check_vocabulary(tokenizer, mixed, 0.5)


def test_what_is_known_is_no_matter(tokenizer: Tokenizer) -> None:
    with warnings.catch_warnings(action="error"):
        check_vocabulary(tokenizer, [*ENGLISH, "caf\u00e9 \U0001f600"], 0.5)


def test_all_of_it_may_be_allowed(tokenizer: Tokenizer) -> None:
    with pytest.warns(UnknownWords):
        check_vocabulary(tokenizer, ["\u72d7", "\u732b"], 1.0)
