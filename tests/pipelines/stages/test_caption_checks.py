"""What is plainly wrong with a caption."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capfilt.pipelines.stages.caption import _mark_duplicates
from capfilt.pipelines.stages.caption_checks import check_caption, same_text_key, tidy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["empty"]),
        ("  \n\t ", ["empty"]),
        ("\u200b\u2060", ["empty"]),
        ("a dog on a hill", []),
        ("so so good", []),
        ("a hat on top of a hat", []),
        ("dai dai dai", ["repetition", "same_word"]),
        ("Dai dai DAI", ["repetition", "same_word"]),
        ("dog dog", ["same_word", "too_short"]),
        ("ray ban ray ban ray ban", ["repetition"]),
        ("a man and a woman and a man and a woman and a man and a woman and", ["repetition"]),
        ("a wheeeeeeeeel on a cart", ["repetition"]),
        ("a dog !!!!!!!!!!!!", ["repetition", "too_short"]),
        ("a dog", ["too_short"]),
        ("labrador retriever", []),
        ("\u4e00\u53ea\u9ed1\u767d\u76f8\u95f4\u7684\u72d7\u5728\u8349\u5730\u4e0a", []),
        ("1234 5678 90", ["no_letters"]),
        ("\U0001f600 \U0001f601 \U0001f602", ["too_short", "no_letters"]),
        ("a dog \x1b[2J on a hill", ["unprintable"]),
        ("a dog \u202eon a hill", ["unprintable"]),
        ("a caf\ufffd on a hill", ["unprintable"]),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u06cc\u06a9 \u0633\u06af", []),
    ],
)
def test_flags(text: str, expected: list[str]) -> None:
    assert check_caption(text) == expected


@given(st.text(max_size=80))
def test_any_text_has_flags_in_one_order_and_none_twice(text: str) -> None:
    order = ["empty", "repetition", "same_word", "too_short", "no_letters", "unprintable"]
    found = check_caption(text)
    assert found == [name for name in order if name in found]
    assert check_caption(text + " ") == found


@pytest.mark.parametrize(
    ("text", "prompt", "expected"),
    [
        ("a dog", "", "a dog"),
        (" two\nlines\t of it ", "", "two lines of it"),
        ("a picture of a dog", "a picture of", "a dog"),
        ("A Picture  of: a dog", "a picture of", "a dog"),
        ("a picture offhand", "a picture of", "a picture offhand"),
        ("a dog in a picture of", "a picture of", "a dog in a picture of"),
        ("a picture of", "a picture of", ""),
    ],
)
def test_a_caption_is_one_line_without_the_prompt(text: str, prompt: str, expected: str) -> None:
    assert tidy(text, prompt) == expected


def test_duplicates_are_told_whatever_their_case_and_punctuation() -> None:
    texts = [("web", "A red bus!"), ("synthetic", "a red bus"), ("synthetic", "a red bus stop"), ("web", "A red bus!")]
    texts += [("synthetic", "a red  bus stop."), ("synthetic", "!!!"), ("synthetic", "???")]
    candidates = [{"source": source, "text": text, "flags": []} for source, text in texts]
    assert [c["flags"] for c in _mark_duplicates(candidates)] == [
        [],
        ["duplicate"],
        [],
        [],
        ["duplicate"],
        [],
        [],
    ]
    assert same_text_key("\u4e00\u53ea\u72d7") != same_text_key("\u4e00\u53ea\u732b")
