"""What is plainly wrong with a caption."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capfilt.models.protocols import Caption
from capfilt.pipelines.stages.caption import _mark_duplicates, _tidied
from capfilt.pipelines.stages.caption_checks import check_caption, same_text_key, tidy, without_thoughts


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
    order = ["empty", "repetition", "same_word", "too_short", "no_letters", "unprintable", "refused", "code"]
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
        ("<answer>a dog</answer><|im_end|>", "", "a dog"),
        ("<|begin_of_box|>a dog<|end_of_box|></s>", "", "a dog"),
        ("a heart <3 and a tag <b>", "", "a heart <3 and a tag <b>"),
    ],
)
def test_a_caption_is_one_line_without_the_prompt(text: str, prompt: str, expected: str) -> None:
    assert tidy(text, prompt) == expected


@pytest.mark.parametrize(
    ("text", "kept", "flags"),
    [
        ("a \ud83d dog runs", "a \ufffd dog runs", ["unprintable"]),
        ("a \ud83d\ude00 dog runs", "a \U0001f600 dog runs", []),
    ],
)
def test_halves_of_an_emoji_become_one_or_none(text: str, kept: str, flags: list[str]) -> None:
    """A server that streams, or cuts a text by bytes, sends them; a table of UTF-8 holds neither."""
    found = _tidied(Caption(text, None, ()), "")
    assert (found["text"], found["flags"]) == (kept, flags)
    assert pa.array([found["text"]]).to_pylist() == [kept]


def test_duplicates_are_told_whatever_their_case_and_punctuation() -> None:
    texts = [("web", "A red bus!"), ("synthetic", "a red bus"), ("synthetic", "a red bus stop"), ("web", "A red bus!")]
    texts += [("synthetic", "a red  bus stop."), ("synthetic", "!!!"), ("synthetic", "???")]
    candidates = [{"source": source, "text": text, "flags": []} for source, text in texts]
    _mark_duplicates(candidates)
    assert [c["flags"] for c in candidates] == [[], ["duplicate"], [], [], ["duplicate"], [], []]
    assert same_text_key("\u4e00\u53ea\u72d7") != same_text_key("\u4e00\u53ea\u732b")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>It has four legs.</think> A brown dog.", " A brown dog."),
        ("<think>\nlegs\n</think>\n\nA brown dog.", "\n\nA brown dog."),
        ("It has four legs, so ...</think>A brown dog.", "A brown dog."),  # the template opened it
        ("<think>It has four legs and", ""),  # cut
        ("A brown dog. <think>or is it", "A brown dog. "),
        ("<think>a</think>x<think>b</think>A brown dog.", "A brown dog."),
        ("<thinking>a</thinking>A brown dog.", "A brown dog."),
        ("<|begin_of_thought|>a<|end_of_thought|>A brown dog.", "A brown dog."),
        ("\u25c1think\u25b7a\u25c1/think\u25b7A brown dog.", "A brown dog."),
        ("<THINK>a</ Think >A brown dog.", "A brown dog."),
        ("[THINK]a[/THINK]A brown dog.", "A brown dog."),
        ("<seed:think>a</seed:think>A brown dog.", "A brown dog."),
        ('<think time="3">a</think>A brown dog.', "A brown dog."),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>A brown dog.",
            "A brown dog.",
        ),
        ("analysisThe user asks. assistantfinalA brown dog.", "A brown dog."),
        ("<scratchpad>a</scratchpad>A brown dog.", "A brown dog."),
    ],
)
def test_thoughts_are_cut_off(text: str, answer: str) -> None:
    assert without_thoughts(text) == (answer, True)


@pytest.mark.parametrize(
    "text", ["a dog that thinks", "a sign: <3", "think of a dog", "2 < 3 > 1", "analysis of blood", "a sign: [THINK]"]
)
def test_what_is_no_thought_stays(text: str) -> None:
    assert without_thoughts(text) == (text, False)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m unable to identify people in images.",
        "Sorry, I cannot describe this image.",
        "I cannot assist with this request.",
        "As an AI language model, I do not see images.",
        "Unfortunately, I can't view the picture.",
        "\u62b1\u6b49\uff0c\u6211\u65e0\u6cd5\u63cf\u8ff0\u8fd9\u5f20\u56fe\u7247\u3002",
        "Es tut mir leid, das kann ich nicht.",
        "There is no image provided.",
        "Please provide an image so I can describe it.",
        "I must decline to describe this.",
        "I'm just an AI and see nothing.",
        "As a large language model I see nothing.",
        "\u7533\u3057\u8a33\u3054\u3056\u3044\u307e\u305b\u3093\u3002",
        "\u0418\u0437\u0432\u0438\u043d\u0438\u0442\u0435, \u044f \u043d\u0435 \u043c\u043e\u0433\u0443.",
        "Je ne peux pas d\u00e9crire cette image.",
    ],
)
def test_a_refusal_in_plain_words_is_flagged(text: str) -> None:
    assert "refused" in check_caption(text)


@pytest.mark.parametrize("text", ["```\na brown dog\n```", "```json\n{}\n```", '{"caption": "a brown dog"}'])
def test_code_is_flagged(text: str) -> None:
    assert "code" in check_caption(text)


@pytest.mark.parametrize(
    "text",
    [
        "a sorry sight of a dog",
        "a dog that cannot help itself",
        "a man in an ai lab {sic}",
        "there is no one on the beach",
        "unfortunately the cake fell on the floor",
        "as an airplane lands, people watch it",
    ],
)
def test_a_caption_that_sounds_alike_is_none(text: str) -> None:
    assert check_caption(text) == []
