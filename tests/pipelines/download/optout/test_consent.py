"""Owners who say no: robots.txt, TDMRep and noml, each switchable, each named in the row."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import protego
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from capfilt.pipelines.download.optout.optout import MOST_SITES, SiteCache, SiteRules
from capfilt.pipelines.download.optout.robots import Robots
from capfilt.pipelines.download.optout.tdmrep import Reservations
from waiting import at_most_cpu

Get = Callable[..., list[dict[str, Any]]]
SmallSite = Callable[..., Any]

PICTURE = (200, {}, b"picture")


def robots(text: str, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, headers, text.encode()


def test_robots_txt_is_asked_once_and_first(get: Get, small_site: SmallSite) -> None:
    site = small_site({"/robots.txt": robots("User-agent: *\nDisallow: /private/\n"), "*": PICTURE})
    rows = get(*(f"{site.url}/{folder}/{n}" for n in range(9) for folder in ("private", "public")))
    assert [row["reason"] for row in rows] == ["opt_out", None] * 9
    assert {row["detail"] for row in rows} == {"robots.txt: Disallow: /private/", None}
    assert site.asked[:2] == ["/robots.txt", "/.well-known/tdmrep.json"]
    assert Counter(path.split("/")[1] for path in site.asked) == {"robots.txt": 1, ".well-known": 1, "public": 9}


def test_a_site_is_remembered_by_the_process(get: Get, small_site: SmallSite) -> None:
    site = small_site({"/robots.txt": robots("User-agent: *\nDisallow: /a\n"), "*": PICTURE})
    for name, reason in (("a", "opt_out"), ("b", None), ("a2", "opt_out")):
        assert get(f"{site.url}/{name}")[0]["reason"] == reason
    assert site.asked.count("/robots.txt") == 1
    get(f"{site.url}/b", user_agent="otherbot/2")  # another robot has other rules
    assert site.asked.count("/robots.txt") == 2


def test_rules_for_us_and_not_for_others(get: Get, small_site: SmallSite) -> None:
    text = "User-agent: *\nDisallow: /\n\nUser-agent: CapFilt/2\nAllow: /\nDisallow: /*.gif$\n"
    site = small_site({"/robots.txt": robots(text), "*": PICTURE})
    assert get(f"{site.url}/a.png")[0]["image"] == b"picture"
    assert get(f"{site.url}/a.gif")[0]["detail"] == "robots.txt: Disallow: /*.gif$"
    assert get(f"{site.url}/b.png", user_agent="other/1")[0]["detail"] == "robots.txt: Disallow: /"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_site_without_robots_txt_allows_everything(get: Get, small_site: SmallSite, status: int) -> None:
    site = small_site({"/robots.txt": robots("User-agent: *\nDisallow: /", status), "*": PICTURE})
    assert get(f"{site.url}/a")[0]["image"] == b"picture"


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "http_5xx"), (503, "http_5xx"), (429, "http_429"), (304, "protocol")]
)
def test_a_site_that_cannot_say_allows_nothing_for_now(
    get: Get, small_site: SmallSite, status: int, reason: str
) -> None:
    answers = {"/robots.txt": robots("", status), "*": PICTURE}
    site = small_site(answers)
    [row] = get(f"{site.url}/a")
    assert (row["reason"], row["detail"]) == (reason, f"robots.txt: HTTP {status}")
    assert "/a" not in site.asked
    answers["/robots.txt"] = robots("")  # and it is not remembered
    assert get(f"{site.url}/a")[0]["image"] == b"picture"


def test_robots_txt_is_tried_again_before_its_urls_are_given_up(get: Get, small_site: SmallSite) -> None:
    def flaky(request: BaseHTTPRequestHandler) -> None:
        request.send_response(503 if site.asked.count("/robots.txt") < 3 else 404)
        request.send_header("Content-Length", "0")
        request.end_headers()

    site = small_site({"/robots.txt": flaky, "*": PICTURE})
    assert get(f"{site.url}/a")[0]["image"] == b"picture"


def test_a_robots_txt_that_never_ends_is_cut_and_one_that_drips_is_left(get: Get, small_site: SmallSite) -> None:
    endless = b"User-agent: *\nDisallow: /early\n" + b"# comment\n" * 60_000 + b"Disallow: /late\n"
    site = small_site({"/robots.txt": (200, {}, endless), "*": PICTURE})
    assert [row["reason"] for row in get(f"{site.url}/early", f"{site.url}/late")] == ["opt_out", None]

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b"#")
            time.sleep(0.1)

    slow = small_site({"/robots.txt": drip, "*": PICTURE})
    rows = get(*(f"{slow.url}/{n}" for n in range(5)), timeout=1.0)
    assert {(row["reason"], row["detail"]) for row in rows} == {
        ("timeout", "robots.txt: no complete answer within 0.75 s")
    }


def test_redirects_of_robots_txt(get: Get, small_site: SmallSite) -> None:
    rules = small_site({"/rules": robots("User-agent: *\nDisallow: /no"), "*": PICTURE})
    site = small_site({"/robots.txt": robots("", 301, Location=f"{rules.url}/rules"), "*": PICTURE})
    assert [row["reason"] for row in get(f"{site.url}/no", f"{site.url}/yes")] == ["opt_out", None]
    loop = small_site({"/robots.txt": robots("", 302, Location="/robots.txt"), "*": PICTURE})
    assert get(f"{loop.url}/a")[0]["image"] == b"picture"
    assert loop.asked.count("/robots.txt") == 6
    inside = small_site({"/robots.txt": robots("", 302, Location="http://169.254.169.254/latest"), "*": PICTURE})
    assert get(f"{inside.url}/a")[0]["reason"] == "forbidden_address"


def test_a_redirect_is_asked_of_the_site_it_leads_to(get: Get, small_site: SmallSite) -> None:
    closed = small_site({"/robots.txt": robots("User-agent: *\nDisallow: /"), "*": PICTURE})
    site = small_site({"/a": (302, {"Location": f"{closed.url}/a"}, b"")})
    [row] = get(f"{site.url}/a")
    assert (row["reason"], row["detail"]) == ("opt_out", "robots.txt: Disallow: /")
    assert "/a" not in closed.asked


def test_headers_of_robots_txt_itself_refuse_nothing(get: Get, small_site: SmallSite) -> None:
    site = small_site({"/robots.txt": (200, {"X-Robots-Tag": "noindex", "tdm-reservation": "1"}, b""), "*": PICTURE})
    assert get(f"{site.url}/a")[0]["image"] == b"picture"


TDM_FILE = b'[{"location": "/free/", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1}]'


def test_tdmrep(get: Get, small_site: SmallSite) -> None:
    site = small_site(
        {
            "/.well-known/tdmrep.json": (200, {}, TDM_FILE),
            "/free/but": (200, {"TDM-Reservation": "1", "tdm-policy": "https://a.example/p"}, b"picture"),
            "*": PICTURE,
        }
    )
    rows = get(*(f"{site.url}/{name}" for name in ("free/a", "other", "free/but")))
    assert [row["detail"] for row in rows] == [
        None,
        "TDMRep: /.well-known/tdmrep.json reserves /",
        "TDMRep: tdm-reservation: 1",
    ]
    assert "/other" not in site.asked


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"<html>", b"[1, null, {}]", b"[" * 100_000, b"\xff\xfe"])
def test_a_tdmrep_file_that_makes_no_sense_reserves_nothing(get: Get, small_site: SmallSite, body: bytes) -> None:
    site = small_site({"/.well-known/tdmrep.json": (200, {}, body), "*": PICTURE})
    assert get(f"{site.url}/a")[0]["image"] == b"picture"


@pytest.mark.parametrize("status", [403, 500])
def test_a_tdmrep_file_that_is_not_given_reserves_nothing(get: Get, small_site: SmallSite, status: int) -> None:
    site = small_site({"/.well-known/tdmrep.json": (status, {}, TDM_FILE), "*": PICTURE})
    assert get(f"{site.url}/a")[0]["image"] == b"picture"


WAYS = ("robots.txt", "x-robots-tag", "noml", "tdmrep")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_honoured_by_default_and_can_be_switched_off(get: Get, small_site: SmallSite, way: str) -> None:
    site = small_site(
        {
            "/robots.txt": robots("User-agent: *\nDisallow: /robots.txt-\n"),
            "/x-robots-tag-": (200, {"X-Robots-Tag": "noimageai"}, b"picture"),
            "/noml-": (200, {"X-Robots-Tag": "noml"}, b"picture"),
            "/tdmrep-": (200, {"tdm-reservation": "1"}, b"picture"),
            "*": PICTURE,
        }
    )
    url = f"{site.url}/{way}-"
    assert get(url)[0]["reason"] == "opt_out"
    assert get(url, opt_out=(way,))[0]["reason"] == "opt_out"
    assert get(url, opt_out=tuple(other for other in WAYS if other != way))[0]["image"] == b"picture"
    site.asked.clear()
    assert get(url, opt_out=())[0]["image"] == b"picture"
    assert site.asked == [f"/{way}-"]


def test_the_agent_says_whom_to_ask(get: Get, small_site: SmallSite) -> None:
    site = small_site({"*": PICTURE})
    get(f"{site.url}/a", contact="https://example.org/bot")
    assert site.agents == {"capfilt/0.1 (image-text curation) (+https://example.org/bot)"}


PATHS = st.text("ab/.%41*$", max_size=6).map(lambda text: "/" + text)
LINES = st.lists(
    st.one_of(
        st.sampled_from(["User-agent: *", "User-agent: capfilt", "user-agent: Other # them", "", "Sitemap: /x"]),
        st.builds("{}: {}".format, st.sampled_from(["Allow", "disallow"]), PATHS.filter(lambda p: "$" not in p[:-1])),
    ),
    max_size=12,
)


@given(LINES, st.text("ab/.A", max_size=8))
def test_the_same_verdict_as_protego(lines: list[str], path: str) -> None:
    text, url = "\n".join(lines), URL(f"http://site.example/{path}")  # which takes `.` and `..` out of a path
    theirs = protego.Protego.parse(text).can_fetch(str(url), "capfilt")
    assert (Robots.parse(text, "capfilt").refusal(url) == "") == theirs


@pytest.mark.parametrize(
    ("pattern", "path", "refused"),
    [
        ("/a", "/a/b?c=d", True),
        ("/a", "/A", False),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/*?", "/b?x", True),
        ("/b%C3%BC", "/b\u00fc/c", True),
        ("/b\u00fc", "/b%c3%bc", True),
        ("/%7ejoe", "/~joe/x", True),
        ("/a%2fb", "/a/b", False),
        ("", "/a", False),
        ("*", "/a", True),
        ("/", "/robots.txt", False),
    ],
)
def test_patterns(pattern: str, path: str, refused: bool) -> None:
    rules = Robots.parse(f"User-agent: *\nDisallow: {pattern}", "capfilt")
    assert bool(rules.refusal(URL(f"http://site.example{path}"))) is refused


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("utf-8", "replace")))
def test_no_file_breaks_the_parsers(text: str) -> None:
    for url in (URL("http://a.example/x"), URL("http://a.example/")):
        Robots.parse(text, "capfilt").refusal(url)
        Reservations.parse(text).refusal(url)


def test_hostile_rules_cost_little() -> None:
    agents = "".join(f"User-agent: robot{n}\n" for n in range(20_000)) + "Disallow: /a\n" * 10_000
    stars = "User-agent: *\n" + "".join("Disallow: /" + "*a" * 100 + f"*{n}$\n" for n in range(1000))
    with at_most_cpu(seconds=10):  # a tenth of a second each; Protego takes minutes
        for text in (agents, stars):
            Robots.parse(text, "capfilt").refusal(URL("http://site.example/" + "a" * 2000))


def test_memory_is_bounded() -> None:
    memory, site = SiteCache(), SiteRules(Robots(), Reservations())
    for number in range(MOST_SITES + 10):
        memory.keep(number, site)
    assert (memory.recall(0), memory.recall(MOST_SITES + 9)) == (None, site)


def test_calls_at_the_same_time_share_what_is_known(get: Get, small_site: SmallSite) -> None:
    site = small_site({"/robots.txt": robots("User-agent: *\nDisallow: /no"), "*": PICTURE})
    found: list[str | None] = []

    def work(n: int) -> None:
        found.extend(row["reason"] for row in get(f"{site.url}/no{n}", f"{site.url}/yes{n}"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert Counter(found) == {"opt_out": 4, None: 4}
