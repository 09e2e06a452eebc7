"""Every way a server can misbehave ends as bytes or as a row with a reason, in time."""

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

Rows = list[dict[str, Any]]
Get = Callable[..., Rows]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/status/404", "http_404"),
        ("/status/403", "http_403"),
        ("/status/401", "http_4xx"),
        ("/status/410", "http_4xx"),
        ("/status/304", "protocol"),
        ("/robots/403?tag=noai", "opt_out"),
        ("/robots/404?tag=noimageai", "opt_out"),
        ("/robots/200?tag=noindex", "opt_out"),
        ("/robots/200?tag=all&tag=nofollow,%20noimageindex", "opt_out"),
        ("/robots/200?tag=CapFilt:%20NoAI", "opt_out"),
        ("/robots/302?tag=noai&to=/body/picture", "opt_out"),
        ("/loop", "protocol"),
        ("/redirect?to=file:///etc/passwd", "bad_url"),
        ("/redirect?to=http://user:secret@127.0.0.1/", "bad_url"),
        ("/redirect?to=http://127.0.0.2/", "forbidden_address"),
        ("/redirect?to=http://[::ffff:127.0.0.2]/", "forbidden_address"),
        ("/redirect?to=http://169.254.169.254/latest/meta-data/", "forbidden_address"),
        ("/redirect?to=http://nowhere.invalid/", "dns"),
    ],
)
def test_what_cannot_heal_is_asked_once(site: str, get: Get, hits: Counter[str], path: str, reason: str) -> None:
    before = hits[path]
    [row] = get(site + path, max_redirects=3)
    assert (row["stage"], row["reason"], row["image"]) == ("fetch", reason, None)
    assert "secret" not in row["detail"]
    assert hits[path] == before + (4 if path == "/loop" else 1)


@pytest.mark.parametrize(
    "path",
    [
        "/robots/200?tag=nofollow",
        "/robots/200?tag=otherbot:%20noai",
        "/robots/200?tag=unavailable_after:%2025%20Jun%202030",
    ],
)
def test_tags_for_others_do_not_refuse(site: str, get: Get, path: str) -> None:
    assert get(site + path)[0]["image"] == b"picture"


def test_opt_out_is_a_setting(site: str, get: Get) -> None:
    assert get(site + "/robots/200?tag=noai", opt_out=())[0]["image"] == b"picture"


@pytest.mark.parametrize(
    ("name", "reason", "tries"),
    [
        ("garbage", "protocol", 1),
        ("bad-length", "protocol", 1),
        ("huge-header", "protocol", 1),
        ("endless-header", "protocol", 1),
        ("odd-status", "protocol", 1),
        ("no-location", "protocol", 1),
        ("wild-location", "bad_url", 1),
        ("wild-robots", "opt_out", 1),
        ("cut", "protocol", 3),
        ("cut-chunk", "protocol", 3),
        ("bad-gzip", "protocol", 3),
        ("half-header", "connect", 3),
        ("silent", "connect", 3),
        ("reset", "connect", 3),
    ],
)
def test_broken_http(raw: str, get: Get, hits: Counter[str], name: str, reason: str, tries: int) -> None:
    [row] = get(f"{raw}/{name}")
    assert (row["reason"], row["image"]) == (reason, None)
    assert row["detail"].isprintable()
    assert len(row["detail"]) <= 200
    assert hits[f"/{name}"] >= tries  # the HTTP client repeats once by itself when a connection closes unanswered
    if tries == 1:
        assert hits[f"/{name}"] == 1


def test_a_body_without_length_ends_with_the_connection(raw: str, get: Get) -> None:
    assert get(f"{raw}/no-length")[0]["image"] == b"until the end"


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_heals_is_tried_again(site: str, get: Get, hits: Counter[str], code: int) -> None:
    path = f"/heals/{code}?times=2&name=heals"
    assert get(site + path, retries=2)[0]["image"] == b"healed"
    assert hits[path] == 3


def test_retries_are_counted(site: str, get: Get, hits: Counter[str]) -> None:
    assert get(site + "/status/500", retries=2)[0]["reason"] == "http_5xx"
    assert hits["/status/500"] == 3


def test_retry_after_is_honoured(site: str, get: Get) -> None:
    began = time.monotonic()
    assert get(site + "/heals/429?times=1&after=1&name=honoured")[0]["image"] == b"healed"
    waited = time.monotonic() - began
    assert waited >= 1  # a busy machine makes it longer only


def test_retry_after_beyond_the_deadline_is_not_waited_for(site: str, get: Get, hits: Counter[str]) -> None:
    path = "/heals/429?times=1&after=60&name=beyond"
    assert get(site + path)[0]["reason"] == "http_429"
    assert hits[path] == 1


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_one_deadline_covers_all(site: str, get: Get, path: str) -> None:
    """The site would answer after a minute."""
    [row] = get(site + path, timeout=0.5)
    assert row["reason"] == "timeout"


def test_the_deadline_covers_retries(site: str, get: Get, hits: Counter[str]) -> None:
    [row] = get(site + "/status/502", timeout=2.0, retries=10, backoff=0.4)
    assert row["reason"] in ("http_5xx", "timeout")  # as the deadline falls between two tries or into one
    assert 2 <= hits["/status/502"] <= 5  # of the eleven


@pytest.mark.parametrize("path", ["/big", "/big?declared", "/gzip/50000000"])
def test_the_byte_cap(site: str, get: Get, hits: Counter[str], path: str) -> None:
    assert get(site + path, max_bytes=1_000_000)[0]["reason"] == "too_large"
    assert hits[path] == 1


def test_bytes_up_to_the_cap_pass(site: str, get: Get) -> None:
    assert get(site + "/body/12345", max_bytes=5)[0]["image"] == b"12345"
    assert get(site + "/body/123456", max_bytes=5)[0]["reason"] == "too_large"
    assert get(site + "/gzip/500", max_bytes=500)[0]["image"] == bytes(500)
    assert get(site + "/gzip/501", max_bytes=500)[0]["reason"] == "too_large"


def test_a_declared_length_over_the_cap_is_enough(raw: str, get: Get) -> None:
    assert get(f"{raw}/boast", max_bytes=1_000_000)[0]["reason"] == "too_large"


def test_redirects_up_to_the_limit(site: str, get: Get) -> None:
    assert get(site + "/steps/3", max_redirects=3)[0]["image"] == b"arrived"
    assert get(site + "/steps/4", max_redirects=3)[0]["reason"] == "protocol"
    assert get(site + "/steps/1", max_redirects=0)[0]["reason"] == "protocol"


def test_an_empty_body_is_left_to_decode(site: str, get: Get) -> None:
    [row] = get(site + "/empty")
    assert (row["image"], row["reason"]) == (b"", None)


def test_neither_cookies_nor_credentials_of_the_environment(
    site: str, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    sent = get(site + "/cookie", user_agent="capfilt/0.1 (test)")[0]["image"].decode()
    assert "capfilt/0.1 (test)" in sent
    assert "Cookie" not in sent
    assert "Authorization" not in sent


def test_nobody_listens(get: Get, closed_port: int) -> None:
    [row] = get(f"http://127.0.0.1:{closed_port}/a.jpg")
    assert (row["reason"], row["detail"]) == ("connect", "Connection refused")


def test_a_connection_that_never_comes(get: Get) -> None:
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):  # the queue of connections nobody accepts: further ones get no answer
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        with socket.socket() as probe:
            probe.settimeout(0.3)
            if probe.connect_ex(full.getsockname()) == 0:
                pytest.skip("this system accepts more connections than its queue holds")
        [row] = get(f"http://127.0.0.1:{full.getsockname()[1]}/a.jpg", timeout=2.0, retries=0, opt_out=())
    assert (row["reason"], row["detail"]) == ("timeout", "no connection in time")


def test_no_tls_where_tls_was_asked_for(site: str, get: Get) -> None:
    assert get(site.replace("http:", "https:") + "/empty")[0]["reason"] == "tls"


def test_a_dead_server_is_given_up_on(raw: str, get: Get, hits: Counter[str]) -> None:
    rows = get(*(f"{raw}/hang?{n}" for n in range(60)), timeout=1.0, per_host=8)
    reasons = Counter(row["reason"] for row in rows)
    assert 8 <= reasons["timeout"] < 20
    assert reasons["host_down"] == 60 - reasons["timeout"]
    assert sum(count for path, count in hits.items() if path.startswith("/hang")) < 20
    details = {row["detail"] for row in rows if row["reason"] == "host_down"}
    assert all(
        "consecutive requests to this host failed, the last: timeout: no complete answer" in text for text in details
    )


def test_a_dead_port_does_not_condemn_its_neighbour(site: str, get: Get, closed_port: int) -> None:
    dead = [f"http://127.0.0.1:{closed_port}/{n}" for n in range(30)]
    rows = get(*dead, site + "/body/alive", per_host=1)
    assert {row["reason"] for row in rows[:-1]} == {"connect"}
    assert rows[-1]["image"] == b"alive"


def test_an_answer_shows_that_a_server_lives(raw: str, get: Get) -> None:
    urls = [f"{raw}/{name}?{n}" for n in range(5) for name in ("hang", "no-length")]
    rows = get(*urls, timeout=0.5, retries=0, per_host=1)
    assert [row["reason"] for row in rows] == ["timeout", None] * 5


def test_a_busy_host_does_not_hold_up_others(site: str, get: Get) -> None:
    """The busy one answers nothing until the other one has been asked."""
    elsewhere = site.replace("127.0.0.1", "localhost") + "/body/elsewhere"
    busy = [f"{site}/waits/{n}?for=/body/elsewhere" for n in range(20)]
    rows = get(*busy, elsewhere, concurrency=2, per_host=1, timeout=60.0, retries=0)
    assert [row["image"] for row in rows] == [b"waited"] * 20 + [b"elsewhere"]


@pytest.mark.parametrize(("settings", "most"), [({"per_host": 3}, 3), ({"per_host": 64, "concurrency": 5}, 5)])
def test_connections_at_once(
    site: str, get: Get, most_busy: Callable[[], int], settings: dict[str, int], most: int
) -> None:
    rows = get(*(f"{site}/busy/{n}" for n in range(30)), **settings)
    assert all(row["image"] == b"picture" for row in rows)
    assert most_busy() == most


def test_redirected_urls_keep_to_the_limit_of_the_host_they_reach(
    site: str, get: Get, most_busy: Callable[[], int]
) -> None:
    elsewhere = site.replace("127.0.0.1", "localhost")
    rows = get(
        *(f"{elsewhere}/redirect?to={site}/busy/{n}" for n in range(12)),
        *(f"{site}/busy/{n}" for n in range(12)),
        per_host=4,
    )
    assert all(row["image"] == b"picture" for row in rows)
    assert most_busy() <= 4


def test_the_hosts_that_redirects_led_to_are_told(site: str, get: Get) -> None:
    named = site.replace("127.0.0.1", "LocalHost")
    twice = f"{named}/redirect?to={quote(f'{site}/redirect?to={site}/body/x', safe='')}"
    there_and_back = f"{site}/redirect?to={quote(f'{named}/redirect?to={site}/body/x', safe='')}"
    urls = [f"{site}/body/x", f"{site}/redirect?to=/body/x", twice, there_and_back, f"{named}/redirect?to={site}/no"]
    rows = get(*urls, max_redirects=3)
    assert [row["redirect_hosts"] for row in rows] == [None, None, ["127.0.0.1"], ["localhost"], None]
    assert [row["image"] for row in rows] == [b"x", b"x", b"x", b"x", None]


def test_it_works_in_a_thread_and_leaves_global_random_alone(site: str, get: Get) -> None:
    random.seed(7)
    state = random.getstate()
    results: Rows = []
    thread = threading.Thread(target=lambda: results.extend(get(site + "/heals/500?times=1&name=thread")))
    thread.start()
    thread.join(10)
    assert results[0]["image"] == b"healed"
    assert random.getstate() == state
