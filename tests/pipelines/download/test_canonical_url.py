"""One spelling of a URL: what a client asks for is the same, however it is written."""

import pytest

from capfilt.pipelines.download.canonical_url import canonical, host_of
from capfilt.pipelines.stages.tombstones import Tombstones, read_name


@pytest.mark.parametrize(
    ("spelling", "same"),
    [
        ("http://straße.example/a.jpg", "http://xn--strae-oqa.example/a.jpg"),
        ("http://a.example/%7Ejoe/x.jpg", "http://a.example/~joe/x.jpg"),
        ("http://a.example/b/../x.jpg", "http://a.example/x.jpg"),
        ("http://a.example/./b/./x.jpg", "http://a.example/b/x.jpg"),
        ("HTTP://A.Example:80/x.jpg#top", "http://a.example/x.jpg"),
        ("https://a.example:443/x.jpg", "https://a.example/x.jpg"),
        ("http://a.example./x.jpg", "http://a.example/x.jpg"),
        ("http://a.example/caf%c3%a9.jpg", "http://a.example/café.jpg"),
        ("http://a.example/x%2Fy.jpg", "http://a.example/x%2fy.jpg"),
        ("http://\uff41.example/x.jpg", "http://a.example/x.jpg"),
        ("http://a.example", "http://a.example/"),
        ("http://0x7f.1/x.jpg", "http://127.0.0.1/x.jpg"),
        ("http://2130706433/x.jpg", "http://127.0.0.1/x.jpg"),
    ],
)
def test_spellings_of_one_url_are_one(spelling: str, same: str) -> None:
    assert canonical(spelling) == canonical(same)
    assert host_of(spelling) == host_of(same)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://strasse.example/a.jpg", "http://straße.example/a.jpg"),  # two domains since IDNA 2008
        ("http://a.example/x%2Fy.jpg", "http://a.example/x/y.jpg"),  # an escaped slash is no slash
        ("http://a.example/x.jpg", "https://a.example/x.jpg"),
        ("http://a.example/X.jpg", "http://a.example/x.jpg"),
        ("http://a.example/x.jpg?a=1", "http://a.example/x.jpg"),
    ],
)
def test_different_urls_stay_different(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("text", ["", "no url", "http://[bad/", "http://a:99999/x", "#", "http://"])
def test_what_is_no_url_is_left_as_it_is(text: str) -> None:
    assert canonical(f" {text} ") == text
    assert host_of(text) == ""


@pytest.mark.parametrize(
    ("kind", "asked", "url"),
    [
        ("domain", "straße.example", "http://xn--strae-oqa.example/a.jpg"),
        ("domain", "xn--strae-oqa.example", "http://cdn.STRAßE.example/a.jpg"),
        ("domain", "example.org.", "http://www.example.org/a.jpg"),
        ("url", "http://a.example/%7Ejoe.jpg", "http://a.example/~joe.jpg"),
        ("url", "http://a.example/x/../~joe.jpg", "http://a.example/%7ejoe.jpg"),
    ],
)
def test_a_request_covers_every_spelling(kind: str, asked: str, url: str) -> None:
    empty = Tombstones("ab" * 32)
    stones = Tombstones("ab" * 32, asked=frozenset({empty.hash(kind, read_name(kind, asked))}))
    assert stones.covers("0" * 32, url, None)
    assert not stones.covers("0" * 32, "http://elsewhere.example/~joe.jpg", None)


@pytest.mark.parametrize(
    ("kind", "stored", "url"),
    [
        ("url", "http://a.example/%7Ejoe.jpg", "http://a.example/%7Ejoe.jpg"),
        ("url", "http://a.example/b/../x.jpg", "http://a.example/b/../x.jpg"),
        ("domain", "strasse.example", "http://straße.example/x.jpg"),
    ],
)
def test_requests_that_version_0_1_stored_still_hold(kind: str, stored: str, url: str) -> None:
    empty = Tombstones("ab" * 32)
    stones = Tombstones("ab" * 32, asked=frozenset({empty.hash(kind, stored)}))
    assert stones.covers("0" * 32, url, None)
