"""A lease on a bucket: one driver at a time, no dead one for ever, and none that writes after it lost it."""

import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs as pafs

from bucket_weather import Weather, weather
from capfilt.core.errors import BusyError, UnconditionalStore
from capfilt.core.storage import TMP_PREFIX, Folder, WriteGuard, guarded_writes, patiently
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.locking.conditional import PlainDocument
from capfilt.ledger.locking.fencing import LEASE, NO_LEASE, Fence, FencingToken, fenced_writes
from capfilt.ledger.locking.lease import held_token, lease
from capfilt.ledger.session import Session, save_session
from capfilt.pipelines.stages.tombstones import Tombstones
from waiting import wait_until


@pytest.fixture
def sky(s3: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    with weather(s3) as now:
        monkeypatch.setenv("AWS_ENDPOINT_URL", now.endpoint)
        yield now


def hold_for(folder: Folder, seconds: float) -> None:
    """A lease whose owner died: nobody renews it."""
    held = {"owner": "someone", "who": "process 7 on elsewhere", "until": time.time() + seconds, "generation": 6}
    # Not by `Folder.write`: whoever this is has no lease here, so the fence of this process is not in the way.
    with folder.filesystem.open_output_stream(folder.full(LEASE)) as file:
        file.write(json.dumps(held).encode())


def read(folder: Folder) -> dict[str, Any]:
    return patiently(PlainDocument(folder, LEASE).read)[0]


def test_a_document_without_its_end_is_an_error_that_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / LEASE).write_text('{"generation": 1')
    with pytest.raises(OSError, match="is not whole"):
        PlainDocument(Folder.at(tmp_path), LEASE).read()


def test_the_second_is_refused_and_told_who_the_first_is(bucket: str) -> None:
    second = lease(Folder.at(f"{bucket}/out"))
    with Ledger.at(f"{bucket}/out").lock(), pytest.raises(BusyError, match=r"is being written by process \d+ on "):
        second.__enter__()


def test_it_is_given_back_and_the_next_has_a_higher_generation(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    for generation in (1, 2):
        with lease(folder) as held:
            assert held.generation == held_token(folder).generation == read(folder)["generation"] == generation
    assert held_token(folder) == NO_LEASE


def test_it_is_renewed_while_its_owner_lives(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder, renewal=0.1):
        until = read(folder)["until"]
        wait_until(lambda: read(folder)["until"] > until)
        with pytest.raises(BusyError), lease(folder):
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
    with lease(folder) as held:
        assert held.generation == 7


def test_who_lost_it_says_so_and_leaves_it_alone(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with (  # noqa: PT012
        pytest.raises(BusyError, match="taken over by process 7 on elsewhere"),
        lease(folder, renewal=0.1) as held,
    ):
        hold_now(folder)
        wait_until(lambda: bool(held.lost))
    assert read(folder)["owner"] == "someone"


def hold_now(folder: Folder) -> None:
    """Take a lease that another one has, as a driver whose clock is wrong might."""
    hold_for(folder, 60)


def test_of_many_that_take_it_at_once_one_has_it(sky: Weather, bucket: str) -> None:
    start, done = threading.Barrier(8), threading.Event()
    won: list[int] = []
    told: list[str] = []

    def take() -> None:
        # Two in one process would share what is asked before a write; here none writes.
        from capfilt.ledger.locking.conditional import S3Document
        from capfilt.ledger.locking.lease import Lease

        folder = Folder.at(f"{bucket}/out")
        one = Lease(folder, S3Document(folder, LEASE), 60.0, 1.0)
        start.wait()
        try:
            one.take()
            won.append(one.generation)
        except BusyError as error:
            told.append(str(error))
        done.wait(30)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(won) + len(told) == 8)
    done.set()
    for thread in threads:
        thread.join()
    assert (won, len(told)) == ([1], 7)


def test_who_cannot_renew_stops_before_the_lease_ends(sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with (  # noqa: PT012
        pytest.raises(BusyError, match=r"could not renew its lease \(.*503"),
        lease(folder, term=4.0, renewal=0.2, margin=2.0) as held,
    ):
        folder.write("before.txt", b"")
        ends = held.ends  # first: a renewal between the two reads, or a slow machine, can only make the margin larger
        until = float(str(read(folder)["until"]))
        margin = (until - time.time()) - (ends - time.monotonic())
        assert margin > 1.99  # it stops so long before anybody else can have the lease; 2.0 but for a clock's slew
        sky.away = True
        wait_until(lambda: time.monotonic() > held.ends)
        sky.away = False
        folder.write("after.txt", b"")
    assert not folder.exists("after.txt")


def test_a_short_outage_is_survived(sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder, term=60.0, renewal=0.2, margin=1.0) as held:
        sky.away = True
        wait_until(lambda: bool(held.trouble))
        sky.away = False
        wait_until(lambda: not held.trouble)
        folder.write("after.txt", b"")
    assert folder.exists("after.txt")


def test_a_half_written_answer_ends_nothing(sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder, term=60.0, renewal=0.1, margin=1.0) as held:
        sky.faults, sky.every = ("truncate", "reset", "503"), 2
        wait_until(lambda: sky.met.total() > 12)
        sky.faults = ()
        before = held.ends
        wait_until(lambda: held.ends > before)
    assert not held.lost


def test_a_driver_that_lost_it_writes_nothing_more(bucket: str) -> None:
    ledger = Ledger.at(f"{bucket}/out")
    folder = ledger.folder
    Tombstones(key="00" * 16, asked=frozenset({"of the other"})).write(folder)
    folder.write("selection.toml", b"policy = 'of the other'")
    with pytest.raises(BusyError, match="taken over"), lease(folder, renewal=0.1) as held:  # noqa: PT012
        hold_now(folder)
        wait_until(lambda: bool(held.lost))
        late = [
            lambda: Tombstones(key="11" * 16).write(folder),
            lambda: folder.write("selection.toml", b"policy = 'late'"),
            lambda: folder.delete("selection.toml"),
            lambda: save_session(ledger.folder, Session("", "", 0, {})),
            lambda: folder.write("redo/000000.parquet", b""),
        ]
        for write in late:
            with pytest.raises(BusyError, match="stops; the same command resumes"):
                write()
    assert Tombstones.of(folder).asked == {"of the other"}
    assert folder.read("selection.toml") == b"policy = 'of the other'"
    assert folder.names("sessions") == folder.names("redo") == []


def test_a_worker_that_outlived_its_driver_commits_nothing(sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder):
        first = held_token(folder)
    with lease(folder):
        second = held_token(folder)
    assert (first, second) == (FencingToken(1, True), FencingToken(2, True))
    with fenced_writes(folder, second):
        folder.write("commits/000000.parquet", b"of the second")
    with fenced_writes(folder, first), pytest.raises(BusyError, match=r"lease 2, this one had 1"):
        folder.write("commits/000000.parquet", b"of the first")
    assert folder.read("commits/000000.parquet") == b"of the second"


WORKER = """
import pickle, sys
from capfilt.core.storage import TMP_PREFIX, Folder, WriteGuard, guarded_writes, patiently

from capfilt.ledger.locking.fencing import fenced_writes
folder, token = Folder.at(sys.argv[1]), pickle.loads(bytes.fromhex(sys.argv[2]))
with fenced_writes(folder, token):
    folder.write("commits/000000.parquet", b"of a worker")
"""


def test_a_worker_in_a_process_of_its_own_writes_for_its_driver_and_for_no_other(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")

    def work(token: FencingToken) -> "subprocess.CompletedProcess[str]":
        arguments = (folder.location, pickle.dumps(token).hex())
        return subprocess.run([sys.executable, "-c", WORKER, *arguments], capture_output=True, text=True, check=False)

    with lease(folder):
        token = held_token(folder)
        assert work(token).returncode == 0
        assert folder.read("commits/000000.parquet") == b"of a worker"
        folder.delete("commits/000000.parquet")
    with lease(folder):
        assert "BusyError" in work(token).stderr
    assert not folder.exists("commits/000000.parquet")


LATE = ["commits/000000.parquet", "images/000000.parquet", "forgotten.json", "selection.toml", "redo/000000.parquet"]
"""A record, the data it speaks of, a tombstone, a selection and a transaction."""


@pytest.mark.parametrize("before", [b"", b"as both found it"], ids=["a new file", "a file that was there"])
@pytest.mark.parametrize("name", LATE)
def test_what_a_stale_writer_sent_is_refused_when_it_comes_late(
    s3: str, sky: Weather, bucket: str, name: str, before: bytes
) -> None:
    folder = Folder.at(f"{bucket}/out")
    direct = Folder(pafs.S3FileSystem(endpoint_override=s3, region="us-east-1"), folder.path, folder.location)
    if before:
        direct.write(name, before)
    with lease(folder):
        token = held_token(folder)
    late = threading.Thread(target=lambda: told(lambda: write_for(folder, token, name, b"of the first")))
    sky.slow, sky.held_back = name, threading.Event()
    late.start()
    wait_until(lambda: sky.waiting > 0)  # its PUT has left, and is on its way
    sky.slow = ""
    with lease(folder):
        folder.write(name, b"of the second")
    refused = sum(sky.refused.values())
    sky.held_back.set()
    late.join(30)
    assert sum(sky.refused.values()) == refused + 1
    assert folder.read(name) == b"of the second"


@pytest.mark.parametrize("name", ["commits/000000.parquet", "redo/000000.parquet", "selection.toml"])
def test_a_deletion_that_comes_late_is_refused(sky: Weather, bucket: str, name: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder):
        folder.write(name, b"of the first")
        token = held_token(folder)

    def delete() -> None:
        put = Fence(folder, token.generation, lambda _: None).put  # it looked before the lease changed hands
        with guarded_writes(folder, WriteGuard(lambda _: None, put)):
            folder.delete(name)

    sky.slow, sky.held_back = name, threading.Event()
    late = threading.Thread(target=lambda: told(delete))
    late.start()
    wait_until(lambda: sky.waiting > 0)
    sky.slow = ""
    hold_for(folder, 60.0)  # the next owner, on another machine
    with folder.filesystem.open_output_stream(folder.full(name)) as stream:
        stream.write(b"of the second")
    sky.held_back.set()
    late.join(30)
    assert folder.read(name) == b"of the second"


def test_what_was_deleted_under_a_lease_is_not_there(bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder):
        for name in ("commits/000000.parquet", "commits/000001.parquet", "selections/a.toml"):
            folder.write(name, b"x")
        folder.delete("commits/000000.parquet")
        folder.delete("commits/000000.parquet")
        folder.delete("selections/a.toml")
    assert folder.names("commits") == ["commits/000001.parquet"]
    assert list(folder.sizes("commits")) == ["commits/000001.parquet"]
    assert folder.tree() == ["commits/000001.parquet", "lease.json"]
    assert not folder.exists("selections/a.toml")
    with pytest.raises(FileNotFoundError):
        folder.read("commits/000000.parquet")
    with lease(folder):
        folder.write("commits/000000.parquet", b"again")
    assert folder.read("commits/000000.parquet") == b"again"


def test_a_selection_that_is_written_anew_is_not_brought_back_by_a_late_one(sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder):
        token = held_token(folder)
        folder.delete("selection.toml")
    sky.slow, sky.held_back = "selection.toml", threading.Event()
    late = threading.Thread(target=lambda: told(lambda: write_for(folder, token, "selection.toml", b"policy = 'old'")))
    late.start()
    wait_until(lambda: sky.waiting > 0)
    sky.slow = ""
    with lease(folder):
        folder.delete("selection.toml")
        sky.held_back.set()
        late.join(30)
        assert Ledger(folder).selection() == {}
        assert not folder.exists("selection.toml")


def test_a_write_whose_answer_got_lost_is_ours(sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder, renewal=1000.0):
        sky.faults, sky.every = ("reset", "truncate", "503"), 3
        for n in range(12):
            folder.write("sessions/000000.json", str(n).encode())
        sky.faults = ()
        assert folder.read("sessions/000000.json") == b"11"
    assert sky.met.total() >= 6


def test_an_older_write_that_lands_in_between_is_written_over(s3: str, sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    direct = Folder(pafs.S3FileSystem(endpoint_override=s3, region="us-east-1"), folder.path, folder.location)
    with lease(folder):
        sky.slow, sky.held_back = "000000", threading.Event()
        mine = threading.Thread(target=lambda: folder.write("commits/000000.parquet", b"mine"))
        mine.start()
        wait_until(lambda: sky.waiting > 0)
        with direct.filesystem.open_output_stream(folder.full("commits/000000.parquet")) as stream:
            stream.write(b"of an older owner")
        sky.slow = ""
        sky.held_back.set()
        mine.join(30)
        assert direct.read("commits/000000.parquet") == b"mine"


def test_a_writer_that_is_stopped_while_it_looks_at_its_lease_is_refused(s3: str, sky: Weather, bucket: str) -> None:
    """The version is seen before the lease: stopped between the two, it does not take the next owner's for its own."""
    folder = Folder.at(f"{bucket}/out")
    with lease(folder):
        token = held_token(folder)

    def look(_: str) -> None:  # all is well; then this process is stopped for a while
        with lease(folder):
            folder.write("commits/000000.parquet", b"of the second")

    with pytest.raises(BusyError, match="lease 2, this one had 1"):
        Fence(folder, token.generation, look).put("commits/000000.parquet", b"of the first")
    assert folder.read("commits/000000.parquet") == b"of the second"


def write_for(folder: Folder, token: FencingToken, name: str, data: bytes) -> None:
    """As a worker does whose process holds no lease."""
    Fence(folder, token.generation, lambda _: None).put(name, data)  # it looked before the lease changed hands


def told(work: Callable[[], None]) -> None:
    with suppress(BusyError):
        work()


def test_a_renewal_whose_answer_got_lost_is_ours(sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    with lease(folder, term=60.0, renewal=1000.0, margin=1.0) as held:
        before = held.version
        held.renew()
        held.version = before  # as if the answer had never come
        held.renew()
        assert not held.lost
        held.renew()
    assert sum(sky.refused.values()) >= 2  # the probe, and the renewal of a version that is gone


def test_a_store_without_conditions_is_told_and_read_back(sky: Weather, bucket: str) -> None:
    sky.ignores_conditions = True
    folder = Folder.at(f"{bucket}/out")
    with (  # noqa: PT031
        pytest.warns(UnconditionalStore, match="no conditional PUTs"),
        lease(folder, confirm=0.1, renewal=0.1) as held,
    ):
        until = held.ends
        wait_until(lambda: held.ends > until)


def test_there_the_second_look_finds_who_was_faster(sky: Weather, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sky.ignores_conditions = True
    folder = Folder.at(f"{bucket}/out")
    monkeypatch.setattr("capfilt.ledger.locking.lease.time.sleep", lambda _: hold_now(folder))
    with (
        pytest.warns(UnconditionalStore),
        pytest.raises(BusyError, match="is being written by process 7"),
        lease(folder, confirm=0.1),
    ):
        pass
    assert read(folder)["owner"] == "someone"


def test_a_renewal_that_comes_late_changes_nothing(s3: str, sky: Weather, bucket: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    direct = Folder(pafs.S3FileSystem(endpoint_override=s3, region="us-east-1"), folder.path, folder.location)
    with pytest.raises(BusyError, match="taken over"), lease(folder, renewal=0.1) as held:  # noqa: PT012
        sky.slow, sky.held_back = LEASE, threading.Event()
        wait_until(lambda: sky.waiting > 0)
        hold_now(direct)
        before = sum(sky.refused.values())
        sky.held_back.set()
        wait_until(lambda: sum(sky.refused.values()) > before)
        wait_until(lambda: bool(held.lost))
    assert read(direct)["owner"] == "someone"


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_a_deletion_is_tried_again(sky: Weather, bucket: str, fault: str) -> None:
    folder = Folder.at(f"{bucket}/out")
    names = [f"commits/{TMP_PREFIX}{number}" for number in range(3)]
    for name in (*names, "commits/a.parquet"):
        folder.write(name, b"x")
    sky.faults, sky.every = (fault,), 2
    folder.delete("commits/a.parquet")
    folder.delete("commits/a.parquet")
    folder.sweep("commits")
    assert folder.tree() == []
    assert sky.met[fault] > 2
