"""`capfilt retry` on whole runs: recovered rows are like rows that never failed, and a kill loses nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from capfilt.commands.retry import reasons_of, retry
from capfilt.commands.run import run
from capfilt.core.errors import ChangedError, ConfigError, InputError
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.recipes.load import load_recipe
from ill_site import Site
from waiting import wait_until

COUNT = 40
ILL = {n: (500 if n % 4 == 1 else 429) for n in range(COUNT) if n % 4 in (1, 2)}


def rows_of(out: Path, table: str) -> list[dict[str, Any]]:
    files = sorted((out / table).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def alike(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """The same rows in the same order; scores up to the last bits, which depend on the neighbours in a batch."""
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        floats = {name for name, value in left.items() if isinstance(value, float)}
        lists = {
            name for name, value in left.items() if isinstance(value, list) and value and isinstance(value[0], dict)
        }
        rest = left.keys() - floats - lists
        assert {k: left[k] for k in rest} == {k: right[k] for k in rest}
        assert {k: left[k] for k in floats} == pytest.approx({k: right[k] for k in floats}, abs=1e-4)
        for name in lists:
            alike(left[name], right[name])


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_run_that_failed_and_healed_is_like_one_that_never_failed(
    site: Site, url_list: Callable[[Site, int], Path], settings: tuple[str, ...], tmp_path: Path
) -> None:
    urls, recipe = url_list(site, COUNT), load_recipe("blip", settings)
    whole, out = tmp_path / "whole", tmp_path / "out"
    run([str(urls)], str(whole), recipe)
    site.ill = dict(ILL)
    run([str(urls)], str(out), recipe)
    assert status(Folder.at(out)).failures == {"http_429": 10, "http_5xx": 10, "http_404": 1}
    before = {path: path.read_bytes() for path in (out / "commits").glob("*.parquet")}

    site.ill, site.asked = {}, type(site.asked)()
    _killed_on_the_way(out)
    state = status(Folder.at(out))
    assert (state.complete, state.balanced) == (True, True)

    done = retry(str(out), ["5xx", "429"], overrides=("engine.kind='ray'", "engine.cpus=3"))
    assert (done.failures, status(Folder.at(out)).failures) == ({}, {"http_404": 1})
    assert 0 < done.tried <= 20
    Ledger.at(out).verify()
    assert status(Folder.at(out)).selected
    for table in ("images", "failures", "captions", "corpus"):
        alike(rows_of(out, table), rows_of(whole, table))
    assert {path.name: path.read_bytes() for path in (out / "images").glob("*")} == {
        path.name: path.read_bytes() for path in (whole / "images").glob("*")
    }
    changed = {path for path, data in before.items() if path.read_bytes() != data}
    assert changed == {path for path in before if path.stem != "000005"}  # its one row is the one that stays lost
    assert set(site.asked) == set(ILL)  # nothing else was asked for

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    again = retry(str(out))
    assert (again.chunks, again.tried) == (0, 0)
    assert run([str(urls)], str(out), recipe).chunks_now == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == stamps


def _killed_on_the_way(out: Path) -> None:
    """`capfilt retry` as a process, killed as soon as it has replaced a chunk."""
    old = {path: path.read_bytes() for path in (out / "commits").glob("*.parquet")}
    command = [sys.executable, "-m", "capfilt", "retry", str(out), "--reason", "5xx,429"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(
            lambda: any(path.read_bytes() != data for path, data in old.items()), alive=lambda: process.poll() is None
        )
        os.kill(process.pid, signal.SIGKILL)


def test_nothing_to_try_needs_no_ray(
    site: Site, url_list: Callable[[Site, int], Path], settings: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([str(url_list(site, 5))], str(out), load_recipe("blip", settings))
    assert retry(str(out)).chunks == 0
    code = (
        "import sys\nfrom capfilt.cli import app\n"
        f"try:\n    app(['retry', {str(out)!r}])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print([name for name in ('torch', 'ray') if name in sys.modules], file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.endswith("nothing to do: no row failed for these reasons\n")
    assert told.stderr.endswith("[]\n")
    for overrides, error, said in (
        (
            ("caption.n=3",),
            ConfigError,
            r"settings of \[fetch\] can change here; .* with caption.n = 1, now 3",
        ),
        (("fetch.timeuot=3",), ConfigError, "unknown setting fetch.timeuot"),
        (("engine.dtype='float16'",), ConfigError, "engine.dtype"),
    ):
        with pytest.raises(error, match=said):
            retry(str(out), overrides=overrides)


def test_other_weights_are_refused(
    site: Site, url_list: Callable[[Site, int], Path], checkpoint: Path, settings: tuple[str, ...], tmp_path: Path
) -> None:
    moved = tmp_path / "model"
    moved.mkdir()
    for file in checkpoint.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    own = tuple(value.replace(str(checkpoint), str(moved)) for value in settings)
    site.ill = {2: 500}
    run([str(url_list(site, 3))], str(tmp_path / "out"), load_recipe("blip", own))
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(ChangedError, match="weights changed"):
        retry(str(tmp_path / "out"))


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run here"):
        retry(str(tmp_path))


@pytest.mark.parametrize(
    ("names", "reasons"),
    [
        (["timeout", "dns", "5xx"], {"timeout", "dns", "http_5xx"}),
        (["404", "opt_out", "truncated"], {"http_404", "opt_out", "truncated"}),
        ([], {"dns", "connect", "timeout", "http_429", "http_5xx", "protocol", "host_down", "chunk_full"}),
    ],
)
def test_reasons(names: list[str], reasons: set[str]) -> None:
    assert reasons_of(names) == reasons


@pytest.mark.parametrize(
    ("name", "said"), [("slow", "'slow' is not known; there are: .*timeout"), ("bad_row", "a retry cannot change it")]
)
def test_reasons_that_make_no_sense(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        reasons_of(["timeout", name])
