"""The rules of a site: the verdicts of trying all of them, and bounds that a hostile file meets."""

import json
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from yarl import URL

from capfilt.pipelines.download.optout.optout import MOST_BYTES, SiteCache, SiteRules
from capfilt.pipelines.download.optout.paths import MOST_RULES, matches
from capfilt.pipelines.download.optout.robots import LIMIT, MOST_WILDCARDS, Robots
from capfilt.pipelines.download.optout.tdmrep import Reservations
from misbehaving_web import SmallSite

Get = Callable[..., list[dict[str, Any]]]

SITE = URL("http://example.org")


def test_the_verdict_is_that_of_trying_every_rule() -> None:
    dice = random.Random(7)
    verdicts = set()
    for _ in range(2000):
        rules = [
            (dice.choice(["Allow", "Disallow"]), "/" + "".join(dice.choices("ab/*", k=dice.randrange(5))) + end)
            for end in dice.choices(["", "", "$"], k=dice.randrange(1, 8))
        ]
        robots = Robots.parse("User-agent: *\n" + "".join(f"{way}: {pattern}\n" for way, pattern in rules), "capfilt")
        path = "/" + "".join(dice.choices("ab/", k=dice.randrange(6)))
        fitting = [(len(pattern), way == "Allow") for way, pattern in rules if matches(pattern, path)]
        refused = bool(fitting) and not max(fitting)[1]
        assert bool(robots.refusal(SITE.with_path(path))) == refused, (rules, path)
        verdicts.add(refused)
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    "line", ["Disallow: /{}\n", "Allow: /{}\n", "Disallow: /*{}\n", "Allow: /{}$\n", "Disallow: /{}*a*b*c*d*e\n"]
)
def test_a_site_of_too_many_rules_is_refused_as_a_whole_and_takes_no_memory(line: str) -> None:
    text = "User-agent: *\n" + "".join(line.format(number) for number in range(LIMIT // 12))[:LIMIT]
    robots = Robots.parse(text, "capfilt")
    assert robots.refusal(SITE / "any.jpg").startswith("it has ")
    assert robots.size == 0


def test_as_many_rules_as_are_kept_are_followed() -> None:
    plain = "".join(f"Disallow: /p/{number}/\n" for number in range(MOST_RULES - MOST_WILDCARDS))
    wild = "".join(f"Disallow: /w/*/{number}$\n" for number in range(MOST_WILDCARDS))
    robots = Robots.parse(f"User-agent: *\n{plain}{wild}", "capfilt")
    assert robots.refusal(SITE.with_path("/p/77/a.jpg")) == "Disallow: /p/77/"
    assert robots.refusal(SITE.with_path("/w/a/99")) == "Disallow: /w/*/99$"
    assert robots.refusal(SITE.with_path("/w/a/99.jpg")) == ""
    assert robots.size < 3_000_000


def test_a_tdmrep_file_of_too_many_rules_reserves_everything() -> None:
    entries = [{"location": f"/{number}", "tdm-reservation": 0} for number in range(MOST_RULES + 1)]
    reservations = Reservations.parse(json.dumps(entries))
    assert reservations.refusal(SITE / "any.jpg") == "/"
    assert reservations.size < 1000


def test_what_is_remembered_of_all_sites_is_bounded() -> None:
    text = "User-agent: *\n" + "".join(f"Disallow: /{number}/{'x' * 30}\n" for number in range(MOST_RULES))
    memory, rules = SiteCache(), SiteRules(Robots.parse(text, "capfilt"), Reservations())
    fit = MOST_BYTES // rules.size
    for number in range(fit + 10):
        memory.keep(number, rules)
    assert [memory.recall(number) is not None for number in (0, 9, 10, fit + 9)] == [False, False, True, True]
    small = SiteRules(Robots.parse("User-agent: *\nDisallow: /a", "capfilt"), Reservations())
    memory = SiteCache()
    for site in ("small", *range(2 * fit)):
        memory.keep(site, small if site == "small" else rules)
    assert memory.recall("small") is small  # the large ones cost each other their place, though it is the oldest


def test_the_longest_prefix_is_found_in_the_time_of_reading_the_file_once() -> None:
    text, length = "User-agent: *\n", 0
    while len(text) + length < LIMIT:
        length += 1
        text += f"Disallow: /{'x' * length}\n"
    robots = Robots.parse(text, "capfilt")
    assert len(robots.prefixes) == length
    assert sum(robots.lengths) <= LIMIT  # characters that a look at every length compares
    assert robots.refusal(SITE.with_path("/" + "x" * 8000)) == f"Disallow: /{'x' * length}"
    assert robots.refusal(SITE.with_path("/" + "y" * 8000)) == ""


def test_many_rules_are_matched_outside_of_the_event_loop(
    small_site: Callable[..., SmallSite], get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    matched = SiteRules.check

    def seen(self: SiteRules, url: URL) -> None:
        threads.append(threading.current_thread().name.partition("_")[0])
        matched(self, url)

    monkeypatch.setattr(SiteRules, "check", seen)
    for rules in (3, MOST_RULES):
        text = "User-agent: *\n" + "".join(f"Disallow: /{number}/\n" for number in range(rules))
        site = small_site({"/robots.txt": (200, {}, text.encode()), "*": (200, {}, b"a")})
        rows = get(f"{site.url}/1/a.jpg", f"{site.url}/a.jpg", opt_out=("robots.txt",))
        assert [row["reason"] for row in rows] == ["opt_out", None]
    assert threads == ["MainThread"] * 2 + ["asyncio"] * 2
