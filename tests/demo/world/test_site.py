"""The demo's web site: what it has, and how it misbehaves."""

import io
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pyarrow as pa
import pytest
from PIL import Image

from capfilt.core import schema
from capfilt.core.errors import InputError
from capfilt.demo.world import describe, is_right, jpeg
from capfilt.demo.world.server import HOST, serving
from capfilt.demo.world.site import SHARES, SMALLEST, Page, Trouble, pages
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.fetch import fetch
from waiting import wait_until

IMAGES, SEED = 60, 3
PORTS = range(8450, 8480)


@pytest.fixture(scope="module")
def site() -> dict[Trouble, Page]:
    """One page of every kind."""
    return {page.trouble: page for page in pages(IMAGES, SEED)}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(IMAGES, SEED, PORTS) as port:
        yield port


def get(port: int, name: str) -> bytes:
    with urlopen(f"http://{HOST}:{port}/{name}", timeout=60) as response:
        return bytes(response.read())


def test_the_same_seed_gives_the_same_pages() -> None:
    assert pages(IMAGES, SEED) == pages(IMAGES, SEED)
    assert pages(IMAGES, SEED) != pages(IMAGES, SEED + 1)


def test_the_share_of_trouble_is_the_stated_one() -> None:
    counts = Counter(page.trouble for page in pages(1000, 0))
    assert counts.pop(Trouble.NONE) == 920
    assert counts == {trouble: 1000 * share for trouble, share in SHARES.items()}
    assert sum(SHARES.values()) == pytest.approx(0.08)


def test_the_smallest_site_has_every_trouble_once() -> None:
    assert Counter(page.trouble for page in pages(SMALLEST, 0)) == {
        Trouble.NONE: SMALLEST - len(SHARES),
        **dict.fromkeys(SHARES, 1),
    }
    with pytest.raises(ValueError, match=str(SMALLEST)):
        pages(SMALLEST - 1, 0)


def test_every_page_tells_the_truth_of_its_own_picture() -> None:
    for page in pages(300, 1):
        assert page.row.truth == describe(page.scene)
        assert page.row.right == is_right(page.row.text, page.row.truth)
    assert [page.name for page in pages(30, 1)] == [f"{number:06d}.jpg" for number in range(30)]


def test_a_sound_page_is_its_picture(port: int, site: dict[Trouble, Page]) -> None:
    page = site[Trouble.NONE]
    data = get(port, page.name)
    assert data == jpeg(page.scene, page.side)
    assert Image.open(io.BytesIO(data)).size == (page.side, page.side)


def test_a_copy_is_the_same_picture_under_another_name(port: int, site: dict[Trouble, Page]) -> None:
    copy = site[Trouble.COPY]
    original = next(page for page in pages(IMAGES, SEED) if page.trouble is Trouble.NONE and page.scene == copy.scene)
    assert original.name != copy.name
    assert get(port, original.name) == get(port, copy.name)


@pytest.mark.parametrize("name", ["999999.jpg", "nothing", "..%2F..%2Fetc%2Fpasswd"])
def test_what_the_site_has_not_is_not_found(port: int, name: str) -> None:
    with pytest.raises(HTTPError, match="404") as caught:
        get(port, name)
    caught.value.close()


def test_trouble_ends_as_the_reason_it_should(port: int, site: dict[Trouble, Page]) -> None:
    """Through the demo's own settings and the real stages."""
    recipe = load_recipe("demo", ("fetch.timeout=3",))
    order = list(site)
    rows = [
        {"uid": f"{n:032x}", "source": f"list#{n}", "url": f"http://{HOST}:{port}/{site[trouble].name}", "texts": []}
        for n, trouble in enumerate(order)
    ]
    found = decode(fetch(pa.Table.from_pylist(rows, schema=schema.ROWS), recipe.fetch), recipe.decode)
    assert dict(zip(order, found["reason"].to_pylist(), strict=True)) == {
        Trouble.NONE: None,
        Trouble.GONE: "http_404",
        Trouble.REFUSED: "opt_out",
        Trouble.SLOW: None,
        Trouble.SILENT: "timeout",
        Trouble.FLAKY: None,
        Trouble.CUT: "truncated",
        Trouble.HTML: "not_an_image",
        Trouble.COPY: None,
    }


@pytest.mark.slow
def test_a_taken_port_is_left_for_the_next_one_or_named() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        first = taken.getsockname()[1]
        with serving(IMAGES, SEED, range(first, first + 20)) as port:
            assert port > first
        with pytest.raises(InputError, match=f"{first} is in use"), serving(IMAGES, SEED, range(first, first + 1)):
            pass


def test_the_site_ends_with_whoever_started_it() -> None:
    code = (
        "import os, signal; from capfilt.demo.world.server import serving\n"
        f"with serving({IMAGES}, {SEED}, range(8480, 8500)) as port:\n"
        "    print(port, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    port = int(done.stdout)
    wait_until(lambda: not answers(port))


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_the_site_starts_without_a_word_on_standard_error_and_ends_with_its_input() -> None:
    """As a process of its own it imports its package first, which must not import the site itself."""
    command = [sys.executable, "-m", "capfilt.demo.world.server", "--images", "20", "--port", "8601", "--tries", "20"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= 8601
