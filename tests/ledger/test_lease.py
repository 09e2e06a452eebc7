"""A lease on a bucket: one driver at a time, and no dead one for ever."""

import json
import threading
import time

import pytest

from capfilt.core.errors import BusyError
from capfilt.core.storage import Folder
from capfilt.ledger.lease import NAME, lease
from capfilt.ledger.ledger import Ledger
from waiting import wait_until


def hold_for(folder: Folder, seconds: float) -> None:
    """A lease whose owner died: nobody renews it."""
    held = {"owner": "someone", "who": "process 7 on elsewhere", "until": time.time() + seconds}
    folder.write(NAME, json.dumps(held).encode())


def test_the_second_is_refused_and_told_who_the_first_is(bucket: str) -> None:
    second = lease(Folder.at(f"{bucket}/out"), confirm=0.1)
    with Ledger.at(f"{bucket}/out").lock(), pytest.raises(BusyError, match=r"is being written by process \d+ on "):
        second.__enter__()


def test_it_is_given_back(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    for _ in range(2):
        with lease(folder, confirm=0.1):
            assert folder.exists(NAME)
    assert not folder.exists(NAME)


def test_it_is_renewed_while_its_owner_lives(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder, renewal=0.1, confirm=0.1):
        until = json.loads(folder.read(NAME))["until"]
        wait_until(lambda: json.loads(folder.read(NAME))["until"] > until)
        with pytest.raises(BusyError), lease(folder, confirm=0.1):
            pass


def test_a_dead_owner_holds_it_no_longer_than_its_term(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    hold_for(folder, 1000.0)
    with (
        pytest.raises(BusyError, match=r"process 7 on elsewhere; if that process is dead, wait (9\d\d|1000) s"),
        lease(folder),
    ):
        pass
    hold_for(folder, -0.1)  # as it is when the term is over
    with lease(folder, confirm=0.1):
        pass


def test_who_lost_it_says_so(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    held = lease(folder, renewal=0.1, confirm=0.1)
    held.__enter__()
    hold_for(folder, 60)
    wait_until(lambda: not any("_keep" in thread.name for thread in threading.enumerate()))
    with pytest.raises(BusyError, match="taken over"):
        held.__exit__(None, None, None)
    assert json.loads(folder.read(NAME))["owner"] == "someone"
