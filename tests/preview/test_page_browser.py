"""The page of `capfilt check --html` in a real browser: its own policy lets it show its images, and nothing else."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import invoke
from pictures import picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_the_page_shows_its_images_and_asks_for_nothing(chromium: "Browser", tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(picture(number, 200, height=100))
        (tmp_path / "in" / f"{number}.txt").write_text("<img src=x onerror=\"document.title = 'broken'\">")
    assert invoke("check", tmp_path / "in", "--html", tmp_path / "page.html").exit_code == 0
    page, problems = chromium.new_page(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda asked: re.match("file|data", asked.url) or problems.append(asked.url))
    page.goto((tmp_path / "page.html").as_uri())
    widths = page.evaluate("Promise.all([...document.images].map((one) => one.decode().then(() => one.naturalWidth)))")
    assert widths == [200, 200, 200]
    assert page.title() == "capfilt check"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert problems == []
