"""A site that is ill until somebody heals it, a tiny random model, and chunks committed without Ray."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ill_site import Site
from web_server import serving


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as site:
        yield site


@pytest.fixture
def url_list(tmp_path: Path) -> Callable[[Site, int], Path]:
    """A list of the site's first pictures, and of one picture that never was."""

    def write(site: Site, count: int) -> Path:
        path = tmp_path / "urls.tsv"
        lines = [f"{site.url}/{n}.jpg\t{site.pictures[n][1]}\n" for n in range(count)]
        path.write_text("url\ttext\n" + "".join([*lines, f"{site.url}/gone.jpg\tgone\n"]))
        return path

    return write


@pytest.fixture
def settings(checkpoint: Path) -> tuple[str, ...]:
    """--set values: the random model, small chunks, no Ray, and a downloader in a hurry."""
    return (
        f"caption.captioner='{checkpoint}'",
        f"score.judges=['{checkpoint}']",
        "input.chunk_rows=8",
        "engine.kind='local'",
        "engine.threads=1",
        "fetch.allow_private=['127.0.0.0/8']",
        "fetch.ports=[]",
        "fetch.retries=0",
        "fetch.per_host_rate=0",
        "fetch.give_up=0",
    )
