"""`capfilt verify` names every damaged file of a run, and `--repair` makes them again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.commands.verify import repair, verify
from capfilt.core.errors import CapfiltError, IntegrityError
from capfilt.core.storage import Folder
from capfilt.ledger.joined import captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.stages.tombstones import Tombstones
from command_line import invoke

RUN = Path(__file__).parents[1] / "fixtures" / "run-0.1.0"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole run of three chunks beside its inputs, with a current and a named selection."""
    shutil.copytree(RUN / "in", tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(RUN / "complete", tmp_path / "out"))


def flip_a_bit(path: Path, where: float = 0.05) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 4
    path.write_bytes(data)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_whole_run_has_no_damage(out: Path) -> None:
    found = verify(str(out))
    assert (found.damaged, found.chunks) == ({}, ())
    assert found.files == 3 * 7 + 2  # three chunks in seven tables, and the .toml of two selections
    assert found.bytes_read == sum(path.stat().st_size for table in TABLES for path in (out / table).glob("*.parquet"))


TABLES = ("images", "captions", "failures", "commits", "decisions", "corpus", "selections/strict/decisions")
MADE_BY_MODELS = ("images", "captions", "failures", "commits")
"""Tables whose damage makes their chunk run again; the others are made from these."""


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", [flip_a_bit, halve, Path.unlink, lambda path: path.write_bytes(b"")])
def test_every_damaged_table_is_named(out: Path, table: str, damage: Callable[[Path], None]) -> None:
    file = f"{table}/000001.parquet"
    if (damage, table) == (Path.unlink, "commits"):
        pytest.skip("without its record a chunk is one that is still to do")
    damage(out / file)
    found = verify(str(out))
    assert [name for name in found.damaged if name.endswith(".parquet")] == [file]
    assert found.chunks == (("000001",) if table in MADE_BY_MODELS else ())


@pytest.mark.slow
def test_a_repaired_chunk_is_what_it_was(out: Path) -> None:
    """By the command, whose exit code tells; also where a chunk's record is damaged, without which nothing goes on."""
    assert invoke("verify", out).exit_code == 0
    before = {name: pq.read_table(out / name) for name in TABLES}
    files = [f"{table}/000001.parquet" for table in ("images", "captions", "failures")]
    for file in files:
        halve(out / file)
    halve(out / "commits" / "000002.parquet")
    told = invoke("status", out)
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1)
    assert "capfilt verify" in told.stderr

    result = invoke("verify", out)
    assert result.exit_code == 1
    assert all(file in result.output for file in files)
    assert max(map(len, result.output.splitlines())) <= 80
    assert verify(str(out)).chunks == ("000001", "000002")

    result = invoke("verify", out, "--repair", "--set", "engine.kind=local")
    assert result.exit_code == 0, result.output
    assert verify(str(out)).damaged == {}
    Ledger.at(out).verify()
    for name, rows in before.items():
        alike(pq.read_table(out / name), rows)
    assert status(Folder.at(out)).selected
    assert invoke("status", out).exit_code == 0
    for file in files:
        assert (out / "damaged" / file).stat().st_size < (out / file).stat().st_size


def alike(one: pa.Table, other: pa.Table) -> None:
    """The same rows up to last bits of scores; of records the counts, for 0.1 wrote no sizes into them."""
    kept = [n for n in one.column_names if n not in ("sizes", "files", "logprob", "itm", "itc", "captions")]
    assert one.select(kept).to_pylist() == other.select(kept).to_pylist()


@pytest.mark.parametrize("file", ["decisions/000001.parquet", "corpus/000000.parquet", "selection.toml"])
def test_a_repaired_selection_needs_no_model(out: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pq.read_table(out / "decisions")
    halve(out / file)
    found = verify(str(out))
    assert (list(found.damaged), found.chunks) == ([file], ())
    monkeypatch.setattr("capfilt.commands.stored_recipe.check_models", lambda _: pytest.fail("a model was asked for"))
    assert repair(str(out), found) == 0
    assert verify(str(out)).damaged == {}
    assert pq.read_table(out / "decisions").num_rows == before.num_rows


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("run.toml", "restore it from a backup"),
        ("plan.parquet", "restore both from a backup"),
        ("selection.toml", "capfilt select"),
        ("selections/strict.toml", "capfilt select"),
    ],
)
@pytest.mark.parametrize("command", ["status", "report", "select", "export"])
def test_a_damaged_book_is_one_line_that_says_what_to_do(out: Path, file: str, words: str, command: str) -> None:
    (out / file).write_bytes((out / file).read_bytes()[:37] + b"\xff[[")
    more = {"export": ["--to", str(out / "to"), "--format", "parquet"], "select": ["--name", "strict"]}
    result = invoke(command, out, *more.get(command, []))
    if result.exit_code == 0:
        pytest.skip("this command does not read that file")
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert words in result.stderr
    assert file.rpartition("/")[2] in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["export", "OUT", "--to", "to", "--format", "webdataset"],
        ["export", "OUT", "--to", "to", "--format", "parquet"],
        ["forget", "OUT", "--uid", "UID"],
        ["select", "OUT", "--set", "select.threshold=0.99"],
        ["retry", "OUT", "--reason", "not_an_image", "--set", "engine.kind=local"],
        ["train", "filter", "OUT/corpus", "--start", "demo-filter", "--out", "trained", "--steps", "1"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]),
)
def test_what_copies_bytes_refuses_damaged_ones(out: Path, command: list[str]) -> None:
    uid = pq.read_table(out / "images" / "000001.parquet").column("uid")[0].as_py()
    for table in ("images", "captions", "corpus"):
        for chunk in ("000000", "000001", "000002"):
            flip_a_bit(out / table / f"{chunk}.parquet", 0.5)
    words = [word.replace("OUT", str(out)).replace("UID", uid) for word in command]
    result = invoke(*words)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "damaged" in result.stderr or "not the committed ones" in result.stderr


def test_a_sample_reads_some_chunks_and_says_how_much_it_left_out(out: Path) -> None:
    found = verify(str(out), sample=1, seed=3)
    assert (found.files, found.unread) == (9, 14)
    assert verify(str(out), sample=99).unread == 0


def test_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CapfiltError, match="no run here"):
        verify(str(tmp_path))


def test_integrity_errors_of_the_tables_say_what_to_do(out: Path) -> None:
    flip_a_bit(out / "captions" / "000000.parquet", 0.5)
    ledger = Ledger.at(out)
    with pytest.raises((IntegrityError, OSError), match=r"CRC|damaged"):
        ledger.dataset("captions", captions_schema(ledger)).to_table()


def test_an_interrupted_forget_is_no_damage(out: Path) -> None:
    """It has changed files and not yet their records; `--repair` would fetch what is to go."""
    Tombstones(key="00" * 16, before="as it was").write(Folder.at(out))
    for command in (["verify", out], ["verify", out, "--repair"]):
        result = invoke(*command)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert "a forget was interrupted: finish it with `capfilt forget`" in result.stderr
