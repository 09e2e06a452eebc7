"""Files of a chunk are replaced all or none, wherever the writer dies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.transaction import replay_pending, write_transaction

OLD = {"failures/000001.parquet": b"old f", "images/000001.parquet": b"old i", "commits/000001.parquet": b"old c"}
NEW = {"failures/000001.parquet": b"new f", "images/000001.parquet": b"new i", "commits/000001.parquet": b"new c"}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder.at(tmp_path)
    for name, data in OLD.items():
        folder.write(name, data)
    return folder


def state(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in OLD}


class Dead(Exception):
    """The writer dies here."""


@contextmanager
def dying_after(steps: int) -> Iterator[None]:
    """Every write and delete of a `Folder` is a step; the one after these does not come to pass."""
    left = [steps]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "delete"):
            real = getattr(Folder, name)

            def step(self: Folder, *args: object, real: object = real) -> None:
                if not left[0]:
                    raise Dead
                left[0] -= 1
                real(self, *args)  # type: ignore[operator]

            patch.setattr(Folder, name, step)
        yield


def replace_all(folder: Folder) -> None:
    write_transaction(folder, "000001", NEW)
    replay_pending(folder)


def test_nothing_is_replaced_before_it_is_settled(folder: Folder) -> None:
    write_transaction(folder, "000001", NEW)
    assert state(folder) == OLD
    assert replay_pending(folder) == ["000001"]
    assert state(folder) == NEW
    assert replay_pending(folder) == []
    assert folder.names("redo") == []


@pytest.mark.parametrize("steps", range(5))
def test_a_writer_that_dies_anywhere_is_made_good(folder: Folder, steps: int) -> None:
    """One step writes the redo, three write the files, one deletes the redo."""
    with dying_after(steps), pytest.raises(Dead):
        replace_all(folder)
    replay_pending(folder)
    assert state(folder) == (OLD if steps == 0 else NEW)
    assert folder.names("redo") == []


def test_the_record_is_the_last_file_to_change(folder: Folder) -> None:
    with dying_after(3), pytest.raises(Dead):
        replace_all(folder)
    assert state(folder) == NEW | {"commits/000001.parquet": b"old c"}


def test_a_late_redo_of_a_dead_driver_s_worker_is_void(folder: Folder) -> None:
    write_transaction(folder, "000001", NEW)
    late = folder.read("redo/000001.parquet")
    replay_pending(folder)
    folder.write("images/000001.parquet", b"newer i")
    folder.write("commits/000001.parquet", b"newer c")
    folder.write("redo/000001.parquet", late)
    assert replay_pending(folder) == []
    assert folder.read("images/000001.parquet") == b"newer i"
    assert folder.names("redo") == []


def test_whoever_takes_the_lock_settles(folder: Folder) -> None:
    write_transaction(folder, "000001", NEW)
    with Ledger(folder).lock():
        assert state(folder) == NEW
