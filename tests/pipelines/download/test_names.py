"""Name lookups: unknown names are quick, and a resolver that does not answer costs one wait, not one a host."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from yarl import URL

from capfilt.pipelines.download import pool
from capfilt.pipelines.download.pool import shuffled

Get = Callable[..., list[dict[str, Any]]]
Install = Callable[..., "SystemResolver"]


class SystemResolver:
    """Stands in for the operating system's lookup: answers after `seconds`."""

    def __init__(self, answer: Callable[[str], Exception | list[str]], seconds: float = 0.0) -> None:
        self.answer, self.seconds = answer, seconds
        self.asked: Counter[str] = Counter()

    def __call__(self, host: str, *args: object, **options: object) -> list[Any]:
        self.asked[host] += 1
        time.sleep(self.seconds)
        answer = self.answer(host)
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in answer]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(answer: Callable[[str], Exception | list[str]], seconds: float = 0.0) -> SystemResolver:
        resolver = SystemResolver(answer, seconds)
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        return resolver

    return install


def unknown(host: str) -> Exception:
    return socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def later(host: str) -> Exception:
    return socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def test_an_unknown_name(get: Get) -> None:
    [row] = get("http://no-such-host.invalid/a.jpg")
    assert row["reason"] == "dns"
    assert row["detail"]


def test_an_unknown_name_is_looked_up_once(get: Get, install: Install) -> None:
    resolver = install(unknown)
    rows = get(*(f"http://dead.example/{n}" for n in range(100)), "https://dead.example:444/")
    assert {(row["reason"], row["detail"]) for row in rows} == {("dns", "Name or service not known")}
    assert resolver.asked == {"dead.example": 1}


def test_many_unknown_names_are_all_looked_up(get: Get, install: Install) -> None:
    resolver = install(unknown)
    rows = get(*(f"http://dead{n}.example/" for n in range(100)))
    assert {row["reason"] for row in rows} == {"dns"}
    assert len(resolver.asked) == 100


def test_a_lookup_that_failed_for_now_is_tried_twice(get: Get, install: Install) -> None:
    resolver = install(later)
    assert get("http://flaky.example/")[0]["reason"] == "dns"
    assert resolver.asked == {"flaky.example": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "seconds"),
    [pytest.param(later, 0.1, id="it says try again"), pytest.param(unknown, 4.0, id="it says nothing in time")],
)
def test_a_dead_resolver_is_noticed(
    get: Get, install: Install, monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], Exception], seconds: float
) -> None:
    monkeypatch.setattr(pool, "LOOKUP_SHARE", 0.02)  # so that no URL's own deadline is near on a busy machine
    resolver = install(answer, seconds)
    rows = get(*(f"http://host{n}.example/" for n in range(1500)), timeout=150.0)
    assert {row["reason"] for row in rows} == {"dns"}
    assert len(resolver.asked) <= 64  # one wait a host would be minutes
    assert rows[-1]["detail"] == "name lookups do not work"


def test_a_resolver_that_answers_now_and_then_is_not_dead(site: str, get: Get, install: Install) -> None:
    order = shuffled([site.replace("127.0.0.1", f"host{n}.example") + "/body/picture" for n in range(32)])
    fine = {URL(url).host for url in order[::8]}  # seven silent ones between two that are answered
    resolver = install(lambda host: ["127.0.0.1"] if host in fine else later(host))
    rows = get(*order, concurrency=1)
    assert [row["image"] is not None for row in rows] == ([True] + 7 * [False]) * 4
    assert len(resolver.asked) == 32


def test_a_lost_question_is_asked_again(site: str, get: Get, install: Install) -> None:
    over = threading.Event()

    def answer(host: str) -> list[str]:
        if resolver.asked[host] == 1:
            over.wait(170)  # the system waits for the lost packet, and this one never comes
        return ["127.0.0.1"]

    resolver = install(answer)
    try:
        [row] = get(site.replace("127.0.0.1", "lossy.example") + "/body/picture", timeout=60.0)
    finally:
        over.set()
    assert row["image"] == b"picture"
    assert resolver.asked == {"lossy.example": 2}


def test_every_address_of_a_name_is_checked(site: str, get: Get, install: Install) -> None:
    install(lambda host: ["10.0.0.1", "192.168.0.1"] if host == "inside.example" else ["10.0.0.1", "127.0.0.1"])
    inside, mixed = (site.replace("127.0.0.1", f"{name}.example") + "/body/picture" for name in ("inside", "mixed"))
    rows = get(inside, mixed)
    assert [row["reason"] for row in rows] == ["forbidden_address", None]
