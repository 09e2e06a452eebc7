"""The page in a real browser: it loads and runs nothing of others, shows its pictures, filters, and fits a phone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from capfilt.core.storage import Folder
from capfilt.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def hostile_page(hostile_run: Path) -> str:
    write_report(Folder.at(hostile_run))
    return (hostile_run / "report.html").as_uri()


@pytest.fixture(scope="module")
def plain_page(plain_run: Path) -> str:
    write_report(Folder.at(plain_run))
    return (plain_run / "report.html").as_uri()


@pytest.fixture
def page(chromium: "Browser") -> "Iterator[Page]":
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    yield opened
    opened.close()


def test_hostile_texts_neither_run_nor_load(page: "Page", hostile_page: str) -> None:
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(hostile_page)
    assert page.title().endswith(": report")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []
    assert page.locator("body script").count() == 1


def test_every_thumbnail_is_a_picture(page: "Page", plain_page: str) -> None:
    page.goto(plain_page)
    page.check("input[name=view][value='']")
    load = "async (image) => { image.loading = 'eager'; await image.decode(); return image.naturalWidth }"
    widths = page.evaluate(f"Promise.all([...document.images].map({load}))")
    assert len(widths) > 60
    assert min(widths) > 0
    assert page.locator(".lost").count() == 0


def test_filters_show_what_they_say(page: "Page", plain_page: str) -> None:
    page.goto(plain_page)
    cards = page.locator(".card")
    total = cards.count()

    def shown() -> list[dict[str, str]]:
        visible = "[...document.querySelectorAll('.card')].filter((card) => card.checkVisibility())"
        return list(page.evaluate(f"{visible}.map((card) => ({{...card.dataset}}))"))

    assert 0 < len(shown()) < total
    assert all("sure" in card["view"].split() for card in shown())
    page.check("input[name=view][value='']")
    assert len(shown()) == total
    page.select_option("select[name=source]", "web")
    page.select_option("select[name=fate]", "dropped")
    found = shown()
    assert 0 < len(found) < total
    assert {(card["source"], card["fate"]) for card in found} == {("web", "dropped")}
    assert page.locator("output").inner_text() == f"{len(found)} of {total} shown"
    page.select_option("select[name=reason]", "itm >= 0.5")
    assert shown() == []
    page.select_option("select[name=fate]", "kept")
    assert {card["reason"] for card in shown()} == {"itm >= 0.5"}


def test_without_script_everything_is_shown(chromium: "Browser", plain_page: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(plain_page)
    assert not page.locator(".filters").is_visible()
    assert page.locator(".card").last.is_visible()
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(
    chromium: "Browser", hostile_page: str, plain_page: str, width: int, scheme: str
) -> None:
    """No sideways scrolling, and a contrast of 4.5 at least between texts and ground (WCAG AA)."""
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    for url in (plain_page, hostile_page):
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(plain_page)
    ground = luminance(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert (ground < 0.2) == (scheme == "dark")
    for selector in ("h1", ".lede", ".facts", ".fate.kept", "figcaption", "th", ".cut", "summary"):
        ink = luminance(page.locator(selector).first.evaluate("one => getComputedStyle(one).color"))
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector
    context.close()


def luminance(color: str) -> float:
    """Of "rgb(1, 2, 3)", as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_opens_at_once(page: "Page", tmp_path: Path, make_run: Callable[..., Path]) -> None:
    """A browser has no more to lay out than for any run: its time grows with the elements, and these do not."""
    out = make_run(tmp_path / "out", 6_000)
    write_report(Folder.at(out))
    page.goto((out / "report.html").as_uri())
    assert page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") > 0
    assert page.evaluate("document.querySelectorAll('*').length") < 5_000
