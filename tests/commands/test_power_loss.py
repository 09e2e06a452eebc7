"""A power loss at any moment of a run, a selection, a retry or a forget: nothing speaks of files that are not there."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from capfilt.commands.retry import retry
from capfilt.commands.run import run
from capfilt.core import schema
from capfilt.core.errors import CapfiltError
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.forget.forget import finish_forgetting, forget
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.selection.select import select
from ill_site import Site
from power_loss import Files, Loss, Step, losses, recorded

SETTINGS = (
    "caption.n=0",
    "score.judges=[]",
    "select.policy=all",
    "input.chunk_rows=4",
    "engine.kind=local",
    "fetch.allow_private=['127.0.0.0/8']",
    "fetch.ports=[]",
    "fetch.retries=0",
    "fetch.per_host_rate=0",
    "fetch.give_up=0",
    "fetch.opt_out=[]",
)
DECIDED = ("decisions", "corpus")


@pytest.fixture
def trace(site: Site, url_list: Callable[[Site, int], Path], tmp_path: Path) -> list[Step]:
    """The steps of a run of 11 rows whose site is ill at first, of two selections, a retry and a forget."""
    urls, out, recipe = url_list(site, 10), tmp_path / "disk" / "out", load_recipe("blip", SETTINGS)
    site.ill = {3: 500, 6: 429}
    (tmp_path / "disk").mkdir()
    with recorded(tmp_path / "disk") as steps:
        run([str(urls)], str(out), recipe)
        folder = Folder.at(out)
        select(folder, recipe.select.model_copy(update={"min_words": 5}), name="longer")
        site.ill = {}
        retry(str(out))
        forget(folder, [("url", f"{site.url}/1.jpg")])
        select(folder, recipe.select)
    Ledger(folder).verify()
    assert _left(steps) == {str(path): path.read_bytes() for path in out.rglob("[!.]*") if path.is_file()}
    return steps


def test_no_record_speaks_of_files_that_are_not_there(trace: list[Step], tmp_path: Path) -> None:
    assert sum(1 for _ in losses(trace)) >= 500
    assert first_lie(trace, tmp_path) == ""


@pytest.mark.parametrize(
    ("dropped", "told"),
    [
        (lambda step: step.kind == "sync", "was written, and is not there"),
        (lambda step: step.kind == "sync_dir", "was written, and is not there"),
        (
            lambda step: step.kind in ("unlink", "deleted") and step.path.endswith("/out/selection.toml"),
            "selection.toml speaks of another selection",
        ),
    ],
    ids=["fsync of files", "fsync of directories", "selection.toml is away while a selection is written"],
)
def test_it_notices_what_is_not_done(
    trace: list[Step], tmp_path: Path, dropped: Callable[[Step], bool], told: str
) -> None:
    assert any(map(dropped, trace))
    assert told in first_lie([step for step in trace if not dropped(step)], tmp_path)


def test_it_notices_a_record_without_its_files(trace: list[Step], tmp_path: Path) -> None:
    """As above, without the promises of single writes: what counts in the end is what the records say."""
    unsynced = [step for step in trace if step.kind not in ("sync", "written", "deleted")]
    assert first_lie(unsynced, tmp_path)


def first_lie(trace: list[Step], tmp_path: Path) -> str:
    """The first thing that a power loss leaves and that is not true; "" if there is none."""
    out, made = str(tmp_path / "disk" / "out"), selections_made(trace)
    states: dict[str, Loss] = {}
    for loss in losses(trace):
        if loss.broken:
            return f"{told(loss, trace)}: {loss.broken[0]} was written, and is not there"
        states.setdefault(loss.digest, loss)
    for number, loss in enumerate(states.values()):
        files = {path.removeprefix(f"{out}/"): data for path, data in loss.files.items()}
        try:
            check_selection(files, made)
            check_recovered(files, tmp_path / f"after-{number}")
        except (AssertionError, CapfiltError, ValueError, OSError) as error:
            return f"{told(loss, trace)}: {error}"
    return ""


def told(loss: Loss, trace: list[Step]) -> str:
    last = trace[loss.step - 1] if loss.step else None
    return f"power lost after step {loss.step} ({last and (last.kind, last.path)}), {loss.how}"


def check_selection(files: Files, made: dict[bytes, Files]) -> None:
    """Where selection.toml stands, decisions/ and corpus/ are all that it was written for."""
    if "selection.toml" not in files or unfinished(files):
        return  # a forget that was interrupted is finished before anybody reads a selection
    there = {path: data for path, data in files.items() if path.startswith(DECIDED)}
    assert there == made[files["selection.toml"]], "selection.toml speaks of another selection"


def check_recovered(files: Files, out: Path) -> None:
    """What is left is whole, after the next command did what each does first."""
    for path, data in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(data)
    for name in ("run.toml", "selection.toml"):
        tomllib.loads(files.get(name, b"").decode())
    ledger = Ledger.at(out)
    if "run.toml" not in files:
        assert not any(path.startswith(("commits/", "sessions/")) for path in files), "commits without a plan"
        return
    with ledger.lock():
        finish_forgetting(ledger)
        ledger.verify()
    if json.loads(files.get("forgotten.json", b"{}")):
        assert not ledger.forgetting
        urls = ledger.dataset("images", schema.IMAGES).to_table(columns=["url"])["url"].to_pylist()
        assert not any(url.endswith("/1.jpg") for url in urls), "what was forgotten is back"


def unfinished(files: Files) -> bool:
    return bool("forgotten.json" in files and json.loads(files["forgotten.json"])["before"])


def selections_made(trace: list[Step]) -> dict[bytes, Files]:
    """For every selection.toml that was written, the files of decisions/ and corpus/ there were then."""
    made: dict[bytes, Files] = {}
    for number, step in enumerate(trace):
        if step.kind == "rename" and step.path.endswith("/out/selection.toml"):
            out = step.path.removesuffix("selection.toml")
            now = {path.removeprefix(out): data for path, data in _left(trace[:number]).items()}
            made[step.data] = {path: data for path, data in now.items() if path.startswith(DECIDED)}
    return made


def _left(steps: list[Step]) -> Files:
    """What is there after these steps when nothing is lost."""
    files: Files = {}
    for step in steps:
        if step.kind == "rename":
            files[step.path] = step.data
        elif step.kind == "unlink":
            files.pop(step.path, None)
    return {path: data for path, data in files.items() if "/.tmp-" not in path}
