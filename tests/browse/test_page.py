"""The page in a real browser, end to end: what a person does, and what the files say afterwards."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import pyarrow.parquet as pq
import pytest

from browse_server import Browse, start
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.marks import read_marks

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
expect.set_options(timeout=60_000)
DASH = "\u2013"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def open_page(chromium: "Browser") -> Iterator[Callable[..., "Page"]]:
    """`open_page(address, width=1280, scheme="light")`: loaded, and at the end without a message on its console."""
    contexts, problems = [], []

    def open_page(address: str, width: int = 1280, scheme: Literal["light", "dark"] = "light") -> "Page":
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(address) or problems.append(f"asked for {asked.url}"))
        page.goto(address)
        page.wait_for_selector("#grid .text .state:not(:empty)")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


_WIDTHS = """async () => {
    const pictures = [...document.querySelectorAll(".picture img")];
    for (const picture of pictures) picture.loading = "eager";
    await Promise.all(pictures.map((picture) => picture.decode()));
    return pictures.map((picture) => picture.naturalWidth);
}"""
"""The widths of all pictures once they are there; an error if one does not come."""


def numbers(page: "Page") -> dict[str, int]:
    """What the page says is kept, by source and of the images."""
    cells = page.locator("#numbers .of-kept td")
    return {cell.get_attribute("data-of") or "": int(cell.inner_text().replace(",", "")) for cell in cells.all()}


def test_look_move_the_threshold_apply_and_mark(run: Ledger, open_page: "Callable[..., Page]") -> None:
    with start(run.folder.location) as server:
        page = open_page(server.address)
        before = run.selection()["result"]
        assert numbers(page) == {**before["kept"], "images": before["images"]}

        # a filter
        page.fill("#q", "green thing")
        expect(page.locator("#count")).to_have_text("36 images")
        expect(page.locator(".card")).to_have_count(36)
        assert all("green" in text.lower() for text in page.locator(".text:not(.beside) .words").all_inner_texts())
        page.click("#clear")
        expect(page.locator(".card")).to_have_count(48)

        # the threshold: numbers and colours follow at once
        page.focus("#slider")
        kept = page.locator(".text.kept").count()
        for _ in range(3):
            page.keyboard.press("PageUp")
        assert page.input_value("#exact") == "0.8"
        at = server.json("api/numbers?judge=itm&t=0.8")
        moved = {**{source: some[0] for source, some in at["kept"].items()}, "images": at["images"][0]}
        assert numbers(page) == moved != {**before["kept"], "images": before["images"]}
        assert page.locator(".text.kept").count() < kept
        page.fill("#exact", "0.8125")
        page.keyboard.press("Enter")
        expect(page.locator("#slider")).to_have_attribute("aria-valuetext", "itm at least 0.8125")

        # a named selection
        page.fill("#name", "strict")
        page.click("#apply button")
        expect(page.locator("#applied")).to_contain_text("strict")
        made = run.selection("strict")
        assert made["parameters"]["threshold"] == 0.8125
        assert numbers(page) == {**made["result"]["kept"], "images": made["result"]["images"]}
        assert run.selection()["name"] == "strict"
        decisions = pq.read_table(run.folder.full("decisions"))
        assert sum(decisions["keep"].to_pylist()) == sum(made["result"]["kept"].values())

        # marks, by keys alone
        page.focus("#grid .text")
        page.keyboard.press("r")
        expect(page.locator("#marked")).to_have_text("1")
        page.keyboard.press("w")
        expect(page.locator("#marked")).to_have_text("2")
        page.keyboard.press("j")
        page.keyboard.press("k")
        page.keyboard.press("w")
        expect(page.locator("#marked")).to_have_text("3")
        page.keyboard.press("u")
        expect(page.locator("#marked")).to_have_text("2")
        marked_last = page.evaluate("document.activeElement.dataset.key")

        # look closer
        page.keyboard.press("Enter")
        expect(page.locator("#closer .text:focus")).to_have_attribute("data-key", marked_last)
        page.keyboard.press("Escape")

        shown = [text for image in server.json("api/images")["images"] for text in image["texts"]][:3]
        assert [text["right"] for text in shown] == [True, False, None]
        marks = read_marks(run.folder).to_pylist()
        assert sorted((mark["text"], mark["right"]) for mark in marks) == sorted(
            (text["text"], text["right"]) for text in shown[:2]
        )


def test_strangers_texts_are_only_ever_text(steady: Browse, open_page: "Callable[..., Page]") -> None:
    page = open_page(steady.address)
    words = page.locator("#grid .card").locator(".words")
    assert words.nth(0).inner_text() == "<script>document.title = 'broken'</script>"
    assert words.nth(1).inner_text() == "\"double\" & 'single' <img src=x onerror=\"document.title = 'broken'\">"
    turned = page.locator(".card:nth-child(3) .words").first
    assert turned.inner_text() == "abc \\u202egnorw si siht\\u202c \u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"
    assert turned.locator("bdi").get_attribute("dir") == "auto"
    long = page.locator(".card:nth-child(4) .words").first.inner_text()
    assert long.endswith("1,000,000 characters")
    assert len(long) < 400
    page.locator(".card:nth-child(2) .picture").click()
    page.wait_for_selector("#closer[open] .about")
    assert "javascript:document.title='broken'//1" in page.locator("#closer").inner_text()
    assert page.locator("#closer a").count() == 0
    page.keyboard.press("Escape")
    page.select_option("[name=reason]", "failures:timeout")
    page.wait_for_selector(".failure")
    assert "<script>" in page.locator(".failure").first.inner_text()
    assert "broken" not in page.title()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_is_cut_off_and_every_picture_comes(
    steady: Browse, open_page: "Callable[..., Page]", width: int, scheme: str
) -> None:
    page = open_page(steady.address, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(_WIDTHS) == [320] * 48
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(22, 24, 26)") == (scheme == "dark")


def test_pages_turn_by_keys_and_the_address_brings_them_back(steady: Browse, open_page: "Callable[..., Page]") -> None:
    page = open_page(steady.address)
    first = page.locator(".words").first.inner_text()
    page.keyboard.press("n")
    expect(page.locator("#count")).to_have_text(f"49{DASH}96 of 108 images")
    assert page.evaluate("document.activeElement.className").startswith("text")
    page.reload()
    expect(page.locator("#count")).to_have_text(f"49{DASH}96 of 108 images")
    page.go_back()
    expect(page.locator("#count")).to_have_text(f"1{DASH}48 of 108 images")
    assert page.locator(".words").first.inner_text() == first
    page.keyboard.press("/")
    page.keyboard.type("no such words at all")
    page.wait_for_selector(".empty")


def test_a_server_that_is_gone_is_told(steady: Browse, chromium: "Browser") -> None:
    page = chromium.new_page()
    page.goto(steady.address)
    page.wait_for_selector("#grid .text .state:not(:empty)")
    page.context.set_offline(True)
    page.focus("#grid .text")
    page.keyboard.press("r")
    expect(page.locator("#trouble")).to_contain_text("is it still running?")
    assert page.locator("#grid .mark[aria-pressed=true]").count() == 0
    page.context.close()
