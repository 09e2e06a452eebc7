"""Politeness: a rate a host, pauses that servers ask for, and leaving a server alone that does not cope."""

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from yarl import URL

from capfilt.core.config import FetchSettings
from capfilt.pipelines.download.hosts import Hosts
from capfilt.pipelines.download.pool import shuffled
from virtual_time import VirtualLoop

Get = Callable[..., list[dict[str, Any]]]
SmallSite = Callable[..., Any]

PICTURE = (200, {}, b"picture")


def test_turns_at_one_host_are_a_fixed_interval_apart() -> None:
    """By the scheduler's own clock, so to the last digit."""
    hosts, url = Hosts(FetchSettings(per_host_rate=20.0)), URL("http://a.example/")

    async def ask() -> float:
        await hosts.turn(url)
        return asyncio.get_running_loop().time()

    async def ask_all() -> list[float]:
        return await asyncio.gather(*(ask() for _ in range(12)))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(ask_all()) == pytest.approx([n / 20 for n in range(12)])


def test_requests_to_one_host_keep_their_distance(
    get: Get, small_site: SmallSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th to reach the site had to wait n intervals after the first one asked for its turn."""
    site, begun, turn = small_site({"*": PICTURE}), [], Hosts.turn

    async def noted(hosts: Hosts, url: URL) -> None:
        begun.append(asyncio.get_running_loop().time())
        await turn(hosts, url)

    monkeypatch.setattr(Hosts, "turn", noted)
    rows = get(*(f"{site.url}/{n}" for n in range(10)), per_host_rate=20.0)
    assert all(row["image"] for row in rows)
    assert len(site.times) == 12  # with robots.txt and tdmrep.json
    early = [n for n, seen in enumerate(sorted(site.times)) if seen - begun[0] < n / 20 - 0.001]
    assert early == []  # a busy machine only makes requests late


def test_waiting_for_its_turn_is_not_in_a_url_s_time(get: Get, small_site: SmallSite) -> None:
    site = small_site({"*": PICTURE})
    rows = get(*(f"{site.url}/{n}" for n in range(16)), per_host_rate=8.0, timeout=1.0, opt_out=())
    assert all(row["image"] for row in rows)


def test_other_hosts_do_not_wait(get: Get, small_site: SmallSite) -> None:
    """The site with a queue answers nothing until the other one has been asked."""
    asked = threading.Event()

    def answer(then: Callable[[], object]) -> Callable[[BaseHTTPRequestHandler], None]:
        def respond(request: BaseHTTPRequestHandler) -> None:
            then()
            request.send_response(200)
            request.send_header("Content-Length", "7")
            request.end_headers()
            request.wfile.write(b"picture")

        return respond

    slow, quick = small_site({"*": answer(lambda: asked.wait(60))}), small_site({"*": answer(asked.set)})
    elsewhere = quick.url.replace("127.0.0.1", "localhost")
    urls = [*(f"{slow.url}/{n}" for n in range(8)), f"{elsewhere}/a"]
    rows = get(*urls, per_host_rate=20.0, timeout=30.0, retries=0, opt_out=())
    assert [row["image"] for row in rows] == [b"picture"] * 9


def once(status: int, after: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Refuses the first request and serves all others."""
    refused: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        first = not refused
        refused.append(request.path)
        request.send_response(status if first else 200)
        request.send_header("Content-Length", "0")
        if first:
            request.send_header("Retry-After", after)
        request.end_headers()

    return answer


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_holds_for_the_whole_server(get: Get, small_site: SmallSite, status: int) -> None:
    site = small_site({"*": once(status, "1")})
    rows = get(*(f"{site.url}/{n}" for n in range(5)), per_host=1, opt_out=())
    assert [row["reason"] for row in rows] == [None] * 5
    assert site.times[1] - site.times[0] >= 1


def test_a_long_pause_is_taken_as_a_no_for_now(get: Get, small_site: SmallSite) -> None:
    site = small_site({"*": once(429, "3600")})
    rows = get(*(f"{site.url}/{n}" for n in range(5)), per_host=1, opt_out=())
    assert Counter(row["reason"] for row in rows) == {"http_429": 1, "host_down": 4}
    assert {row["detail"] for row in rows} == {"HTTP 429", "the server asked for a pause of 3600 s"}
    assert len(site.asked) == 1


def test_a_server_that_only_fails_is_left_alone(get: Get, small_site: SmallSite) -> None:
    site = small_site({"*": (500, {}, b"")})
    rows = get(*(f"{site.url}/{n}" for n in range(40)), retries=1, per_host=2, give_up=6, opt_out=())
    reasons = Counter(row["reason"] for row in rows)
    assert reasons["host_down"] + reasons["http_5xx"] == 40
    assert 6 <= len(site.asked) < 12
    down = {row["detail"] for row in rows if row["reason"] == "host_down"}
    assert all(
        detail.endswith("consecutive requests to this host failed, the last: http_5xx: HTTP 500") for detail in down
    )


def test_no_server_is_left_alone_where_that_is_switched_off(get: Get, small_site: SmallSite) -> None:
    site = small_site({"*": (500, {}, b"")})
    rows = get(*(f"{site.url}/{n}" for n in range(20)), retries=0, give_up=0, opt_out=())
    assert {row["reason"] for row in rows} == {"http_5xx"}
    assert len(site.asked) == 20


def test_one_answer_shows_that_a_server_copes(get: Get, small_site: SmallSite) -> None:
    urls = [f"/{n}" for n in range(30)]
    site = small_site({})
    order = [URL(url).path for url in shuffled([site.url + path for path in urls])]
    site.answers |= {path: (500, {}, b"") for path in order} | {path: PICTURE for path in order[::4]}
    rows = get(*(site.url + path for path in order), retries=0, give_up=4, per_host=1, opt_out=())
    assert [row["reason"] for row in rows] == [None if n % 4 == 0 else "http_5xx" for n in range(30)]


def test_back_off_grows_and_is_not_in_step(get: Get, small_site: SmallSite) -> None:
    site = small_site({"*": (500, {}, b"")})
    paths = [f"/{n}" for n in range(4)]
    get(*(site.url + path for path in paths), retries=3, backoff=0.2, give_up=0, opt_out=())
    seen = list(zip(site.asked, site.times, strict=True))
    pauses = [[b - a for a, b in itertools.pairwise(t for p, t in seen if p == path)] for path in paths]
    assert all(first >= 0.1 and second >= 0.2 and third >= 0.4 for first, second, third in pauses)
    thirds = [third for _, _, third in pauses]
    assert max(thirds) - min(thirds) > 0.02


def test_hosts_are_mixed_and_the_order_is_that_of_the_urls_alone() -> None:
    urls = [f"http://host{host}.example/{n}" for host in range(8) for n in range(32)]
    order = shuffled(urls)
    assert order == shuffled(urls[::-1])
    assert sorted(order) == sorted(urls)
    assert all(len({URL(url).host for url in order[start : start + 32]}) >= 6 for start in range(0, 256, 32))
