"""What the demo's web site has: a page an image, most of them sound, a stated share with the troubles of the web."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from capfilt.demo.world.scene import Scene
from capfilt.demo.world.web import WebRow, web_rows


class Trouble(StrEnum):
    """How a page misbehaves."""

    NONE = "none"
    GONE = "gone"  # 404
    REFUSED = "refused"  # 403 with X-Robots-Tag: noai, the owner's opt-out
    SLOW = "slow"  # the image, after 1 to 2 seconds
    SILENT = "silent"  # no answer while anybody waits
    FLAKY = "flaky"  # 500, and the image when asked again
    CUT = "cut"  # a JPEG that breaks off
    HTML = "html"  # an HTML page under a name that ends in .jpg
    COPY = "copy"  # another page's image and text under a second URL


SHARES: Final[dict[Trouble, float]] = {
    Trouble.GONE: 0.015,
    Trouble.REFUSED: 0.01,
    Trouble.SLOW: 0.01,
    Trouble.SILENT: 0.005,
    Trouble.FLAKY: 0.01,
    Trouble.CUT: 0.01,
    Trouble.HTML: 0.01,
    Trouble.COPY: 0.01,
}
"""8 % of all pages in all, and at least one page of every kind. Half of them (4.5 to 5 %) never become an image."""

SIDES: Final = (96, 160)
"""Pixels of the smallest and the largest image."""
SMALLEST: Final = 2 * len(SHARES)
"""Pages a site has at least, so that most of it is sound."""


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of the site: under which name, what is on it, the text beside it, its side in pixels."""

    name: str
    scene: Scene
    row: WebRow
    side: int
    trouble: Trouble


def pages(n: int, seed: int) -> list[Page]:
    """The `n` pages of the site; the same seed gives the same ones.

    Raises:
        ValueError: fewer than `SMALLEST`.
    """
    if n < SMALLEST:
        raise ValueError(f"a site has at least {SMALLEST} pages, not {n}")
    rng = np.random.default_rng([seed, n])
    # Troubles are fewer than pages: the others have none.
    troubles = dict(zip(rng.permutation(n).tolist(), _troubles(n), strict=False))
    sides = rng.integers(SIDES[0], SIDES[1] + 1, n).tolist()
    sound = [
        Page(row.name, scene, row, side, troubles.get(number, Trouble.NONE))
        for number, ((scene, row), side) in enumerate(zip(web_rows(n, seed), sides, strict=True))
    ]
    originals = [page for page in sound if page.trouble is Trouble.NONE]
    return [_copy(page, originals[int(rng.integers(len(originals)))]) for page in sound]


def _troubles(n: int) -> Iterator[Trouble]:
    for trouble, share in SHARES.items():
        # Each at least once, however small the site is.
        yield from [trouble] * max(1, round(share * n))


def _copy(page: Page, original: Page) -> Page:
    if page.trouble is not Trouble.COPY:
        return page
    return Page(page.name, original.scene, original.row, original.side, Trouble.COPY)
