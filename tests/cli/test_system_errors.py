"""A full or read-only disk is one line in every command that writes; other errors stay what they are."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from capfilt.cli.terminal.system_errors import as_ours
from capfilt.core.errors import IntegrityError, StorageError
from command_line import invoke

WORDS = {"full": ("disk is full", "No space left"), "read-only": ("is read-only", "Read-only file system")}
RUN = Path(__file__).parents[1] / "fixtures" / "run-0.1.0"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out/x"), StorageError, "out/x: the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "out/x"), StorageError, "out/x: the disk is read-only"),
        (OSError("[Errno 28] Error writing bytes. Detail: [errno 28] No space left"), StorageError, "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), StorageError, "the disk is full"),
        (OSError("could not verify page integrity, CRC checksum verification failed"), IntegrityError, "verify OUT"),
    ],
)
def test_what_a_person_can_act_on_is_ours(error: Exception, kind: type[Exception], words: str) -> None:
    ours = as_ours(error)
    assert type(ours) is kind
    assert words in str(ours)


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), OSError(errno.ECONNRESET, "reset"), KeyError("x")])
def test_a_fault_of_ours_stays_one(error: Exception) -> None:
    assert as_ours(error) is None


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[[str], None]]:
    """A file system of its own at `place`; what it yields fills it, or makes it read-only."""
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("only root can mount a disk")

    def end(how: str) -> None:
        if how == "full":
            with suppress(OSError), (place / "ballast").open("wb") as file:
                while True:
                    file.write(bytes(4096))
        else:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)

    try:
        yield end
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize(
    "command",
    [
        ["report", "OUT"],
        ["select", "OUT", "--set", "select.threshold=0.9"],
        ["export", "OUT", "--to", "OUT/to", "--format", "parquet"],
        ["export", "OUT", "--to", "OUT/to", "--format", "webdataset"],
        ["dedup", "OUT", "--radius", "3"],
        ["forget", "OUT", "--uid", "UID"],
        ["query", "OUT", "SELECT text FROM captions", "--output", "OUT/answer.csv"],
        ["world", "OUT/pairs.parquet", "--pairs", "30"],
        ["verify", "OUT", "--repair", "--set", "engine.kind=local"],
        ["train", "filter", "OUT/corpus", "--start", "demo-filter", "--out", "OUT/trained", "--steps", "1"],
    ],
    ids=lambda words: " ".join((words[0], words[-1].rpartition("/")[2])),
)
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_cannot_be_written_is_one_line(command: list[str], how: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as end:
        out = Path(shutil.copytree(RUN / "complete", tmp_path / "disk" / "out"))
        uid = pq.read_table(out / "images").column("uid")[0].as_py()
        (out / "decisions" / "000000.parquet").unlink()
        end(how)
        words = [word.replace("OUT", str(out)).replace("UID", uid) for word in command]
        result = invoke(*words)
        os.sync()
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2), result.output
    assert result.stderr.count("\n") == 1 + result.stderr.count("warning:"), result.stderr
    assert any(words in result.stderr for words in WORDS[how])
