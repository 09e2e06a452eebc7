"""Bodies of a chunk share a budget of bytes: the largest are given up, and all others arrive."""

import random
from collections.abc import Iterator

import pytest

from capfilt.core.config import FetchSettings
from capfilt.pipelines.download.byte_budget import Body, ByteBudget, Downloaded
from capfilt.pipelines.download.failure import DownloadError
from capfilt.pipelines.download.pool import download
from capfilt.pipelines.stages.fetch import fetch
from flood import LARGE, flooding
from misbehaving_web import table
from peak_of_this_process import peak_growth

SMALL = 20_000
BUDGET = 40_000_000


def kept(sizes: list[int], size: int) -> list[int]:
    """Sizes of the bodies that stay, which come in pieces and all at the same time."""
    budget = ByteBudget(size)
    bodies = [Body(str(number), at_end=size) for number, size in enumerate(sizes)]
    left = dict(zip(bodies, sizes, strict=True))
    while left:
        body = random.choice(list(left))
        piece = min(left[body], random.randrange(1, 8))
        left[body] -= piece
        body.data = bytes(len(body.data) + piece)
        try:
            budget.hold(body)
        except DownloadError:
            left[body] = 0
        if not left[body]:
            del left[body]
        assert sum(len(one.data) for one in bodies) <= size + piece
    return sorted(len(body.data) for body in bodies if not body.given_up)


def test_what_is_given_up_does_not_depend_on_the_order() -> None:
    dice = random.Random(3)
    for _ in range(200):
        sizes = random.Random(dice.random()).sample(range(1, 60), 12)
        size = dice.randrange(20, 400)
        found = {tuple(kept(sizes, size)) for _ in range(5)}
        assert len(found) == 1
        (stayed,) = found
        assert list(stayed) == sorted(sizes)[: len(stayed)]  # all below one size, and none above
        assert len(stayed) == len(sizes) or sum(sorted(sizes)[: len(stayed) + 1]) > size


def test_a_body_that_failed_leaves_its_room_to_others() -> None:
    budget = ByteBudget(10)
    first, second = Body("a", bytes(9)), Body("b", bytes(8))
    budget.hold(first)
    budget.release(first)
    budget.hold(second)
    assert not second.given_up


@pytest.fixture(scope="module")
def flood() -> Iterator[int]:
    """The port of a site of many hosts."""
    with flooding({"/small": (200, {}, bytes(SMALL))}) as port:
        yield port


SETTINGS = FetchSettings(
    allow_private=("127.0.0.0/8",),
    ports=(),
    timeout=100,
    concurrency=84,
    opt_out=(),
    chunk_bytes=BUDGET,
    per_host_rate=0,
)


def test_sixty_four_floods_at_once_cost_the_budget_and_no_honest_row(flood: int) -> None:
    floods = [f"http://127.0.1.{host}:{flood}/large" for host in range(64)]
    honest = [f"http://127.0.2.{host}:{flood}/small" for host in range(20)]
    with peak_growth() as grown:
        rows = fetch(table([*honest, *floods]), SETTINGS)
    reasons = rows["reason"].to_pylist()
    assert reasons[:20] == [None] * 20
    assert set(reasons[20:]) == {None, "chunk_full"}
    arrived = reasons.count(None) - 20
    assert arrived == (BUDGET - 20 * SMALL) // LARGE
    assert grown[0] < 64 * LARGE  # and that were the bodies alone


def test_a_body_over_the_budget_alone_is_given_up_alone(flood: int) -> None:
    urls = [f"http://127.0.1.1:{flood}/large", f"http://127.0.2.1:{flood}/small"]
    found = download(urls, SETTINGS.model_copy(update={"chunk_bytes": LARGE - 1}))
    assert found[urls[1]] == Downloaded(bytes(SMALL))
    failure = found[urls[0]]
    assert isinstance(failure, DownloadError)
    assert failure.reason == "chunk_full"
    assert f"more than {LARGE - 1} bytes together" in failure.detail
