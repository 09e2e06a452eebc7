"""What the demo does: serve a small web, run the main job on its list of URLs, compare with the truth.

    OUT/urls.tsv       url, text: the input of the run
    OUT/truth.parquet  uid, text (a right caption), web_right, and url, kind, trouble of every row
    OUT/demo.json      the numbers of the final table
    OUT/...            the tables of the run

URLs hold the port of the web site, and uids are made from URLs. So the port is a fixed one, `PORTS[0]`, and the next
free one only where that is taken; a resumed demo continues with the port its list was written with.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capfilt.commands.progress import Listener
from capfilt.commands.run import RunResult, run
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, ConfigError
from capfilt.core.serialization import parquet_bytes
from capfilt.demo.summary import DemoSummary, summarize_demo
from capfilt.demo.truth import truth_table
from capfilt.demo.world.server import HOST, serving
from capfilt.demo.world.site import SMALLEST, Page, pages
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.stage_models import check_models

PORTS: Final = range(8417, 8437)
URLS: Final = "urls.tsv"
TRUTH: Final = "truth.parquet"
NUMBERS: Final = "demo.json"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo came to."""

    outcome: RunResult
    summary: DemoSummary


def demo(
    out: Path, images: int, seed: int, *, recipe: Recipe | None = None, listener: Listener = lambda _: None
) -> DemoResult:
    """Make the demo in the folder `out`, or resume an earlier one of the same images and seed.

    Args:
        images: pages of the web site, `SMALLEST` at least.
        recipe: another one than the recipe `demo`.

    Raises:
        UserError: a mistake in the arguments, an `out` that holds something else, no free port; before any work.
        RunFailed, IntegrityError: as `capfilt.commands.run.run`.
    """
    if images < SMALLEST:
        raise ConfigError(f"--images {images}: must be at least {SMALLEST}, so that every kind of failure occurs")
    recipe = recipe or load_recipe("demo")
    check_models(recipe)
    site = pages(images, seed)
    outcome = _run(out, site, seed, recipe, listener)
    truth = truth_table(out, site)
    summary = summarize_demo(out, truth)
    ledger = Ledger.at(out)
    ledger.folder.write(TRUTH, parquet_bytes(truth))
    ledger.folder.write(NUMBERS, json.dumps(summary.to_dict(), indent=2).encode() + b"\n")
    return DemoResult(outcome, summary)


def _run(out: Path, site: Sequence[Page], seed: int, recipe: Recipe, listener: Listener) -> RunResult:
    ledger, urls = Ledger.at(out), out / URLS
    port = _earlier_port(out, site)
    if port and ledger.planned and not ledger.todo():
        return run([str(urls)], str(out), recipe, listener=listener)  # nothing to fetch: no web site needed
    with serving(len(site), seed, range(port, port + 1) if port else PORTS) as port:
        ledger.folder.write(URLS, url_list(site, port))
        return run([str(urls)], str(out), recipe, listener=listener)


def url_list(site: Sequence[Page], port: int) -> bytes:
    """The list of the site's pages, tab-separated with a header line."""
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    writer.writerow(("url", "text"))
    writer.writerows((f"http://{HOST}:{port}/{page.name}", page.row.text) for page in site)
    return lines.getvalue().encode()


def _earlier_port(out: Path, site: Sequence[Page]) -> int | None:
    """The port that an earlier demo in `out` used, None if there was none.

    Raises:
        ChangedError: `out` holds another demo, another run or somebody's own list.
    """
    urls = out / URLS
    if not urls.exists():
        if Ledger.at(out).planned:
            raise ChangedError(f"{out} holds another run: use another --out")
        return None
    old = urls.read_bytes()
    found = re.match(rf"url\ttext\nhttp://{re.escape(HOST)}:(\d+)/".encode(), old)
    if not found:
        raise ChangedError(f"{urls} is not a URL list of the demo: use another --out")
    port = int(found[1])
    if old != url_list(site, port):
        count = old.count(b"\n") - 1
        change = f"--images {count}, now {len(site)}" if count != len(site) else "another --seed"
        raise ChangedError(f"{out} was made with {change}: use another --out")
    return port
