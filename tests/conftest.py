"""Fixtures that every test may use."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = ["decoding", "demo_like_run", "hand_made_run", "misbehaving_web", "s3_server"]
"""Modules of `tests/support/` whose fixtures several folders use."""

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Of torch, before anybody imports it: threads that wait for each other on a busy machine cost tiny models ten times
their work."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
"""The suite starts some hundred processes; each would compile the product anew, 0.4 s of CPU."""

ROOT = Path(__file__).resolve().parent.parent


SERVERS = {
    "browser", "chromium", "port", "s3", "server", "servers",
    "site", "small_site", "start", "steady", "talking", "url",
}  # fmt: skip
"""Fixtures that start a server; tests with one of them are marked `server`."""

RUNS = {"calm", "local_recipe", "made", "summary", "trained", "unbroken"}
"""Fixtures that run or train models over a whole input; tests with one of them are marked `slow`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what starts a server or a whole run; the longest tests come first.

    Those with a Ray of their own come last: one between two others costs two starts of the Ray that these share.
    """
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if SERVERS & fixtures:
            item.add_marker("server")
        if RUNS & fixtures:
            item.add_marker("slow")

    def order(item: pytest.Item) -> tuple[bool, bool, bool, bool]:
        cluster, ray, slow = (item.get_closest_marker(name) for name in ("cluster", "ray", "slow"))
        return not cluster, bool(ray and ray.kwargs.get("alone")), not slow, not ray

    items.sort(key=order)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which tests share a process under pytest-xdist: those of a file, for its fixtures; all on Ray, for they share it;
    all with a cluster of their own, for two clusters at once on two cores miss Ray's own deadlines.

    Its own `--dist loadgroup` writes a group into a test's name in a way that pytest 9.2 no longer reads.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            code = (ROOT / file).read_text(encoding="utf-8")
            return next((lane for lane in ("cluster", "ray") if f"pytest.mark.{lane}" in code), file)

    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `ray` share one Ray, for its start costs 7 s and every first task 5 more; `ray(alone=True)` do not.

    Its processes have the environment of the moment it starts; who needs another one is alone.
    """
    marker = item.get_closest_marker("ray")
    if marker is None:
        return
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if marker.kwargs.get("alone"):
        ray.shutdown()
    elif not ray.is_initialized():
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        # Not niced, as Ray's default is: beside other work on the machine its workers would get next to nothing.
        ray.init(address="local", num_cpus=4, _system_config={"worker_niceness": 0}, **quiet)


@pytest.fixture(scope="session", autouse=True)
def _reading_process_is_kept() -> Iterator[None]:
    """pytest writes each test's name into the environment, and a changed environment costs the product a new process.

    For keys of buckets come by it. Some thousand starts, of most of a second each, were half of the suite's time.
    """
    from capfilt.pipelines.readers.limited import limited

    def state() -> tuple[int, dict[str, str]]:
        return os.getpid(), {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limited, "_state", state)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos, lists and broken files, where they lie beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`published("blip")`: a checkpoint of random weights; `make_checkpoints.py` says which names there are."""
    import make_checkpoints

    folder = tmp_path_factory.mktemp("published")

    def make(name: str) -> Path:
        if not (folder / name).exists():
            make_checkpoints.make(name, folder / name)
        return Path(folder / name)

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A med-tiny of random weights that may caption and judge."""
    from dataclasses import replace

    import torch

    from capfilt.demo.world import web_rows
    from capfilt.models.formats.weights import save_med
    from capfilt.models.med.config import SIZES
    from capfilt.models.med.model import MED
    from capfilt.models.tokenizer import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_words(row.text for _, row in web_rows(300, seed=0))
    model = MED(replace(SIZES["med-tiny"], vocab_size=len(tokenizer)))
    folder = tmp_path_factory.mktemp("models") / "random"
    save_med(folder, model, tokenizer, ("captioner", "filter"))
    return folder


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """A real Chromium without a window, driven by playwright: `chromium.new_context(...)`, `chromium.new_page()`.

    Of a module, not of the session: while it lives, nothing else in the process can run an event loop.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    quiet = ("quic", "background-networking", "component-update", "sync")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=flags, timeout=120_000)
        yield browser
        browser.close()
