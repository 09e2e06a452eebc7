"""Keys and passwords: refused where they come in, and never in a file or message of a run."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from capfilt.cli.corpus.browse import _open
from capfilt.commands.ray_jobs import JobSpec, environment, runtime_env
from capfilt.core import duckdb_sandbox
from capfilt.core.chunks import Chunk, Part
from capfilt.core.errors import ConfigError, InputError
from capfilt.core.schema import ROWS
from capfilt.core.secrets import redact
from capfilt.core.storage import Folder, has_secret, split_url, without_secrets
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.engine.chunk.chunk_row import CHUNK_ROW, PlannedChunk, new_row, run_stages
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.read import read
from capfilt.pipelines.stages.row_failures import mark_poison

WITH_SECRETS = [
    "s3://AKIAKEY:s3cret@bucket/run",
    "s3://s3cret@bucket/run",
    "s3://bucket/run?secret_key=s3cret&region=eu",
    "s3://bucket/run?endpoint_override=http://me:s3cret@minio:9000",
    "gs://me:s3cret@bucket/run",
    "abfss://box:s3cret@account.dfs.core.windows.net/run",
    "abfss://box@account.dfs.core.windows.net/run?sig=s3cret",
    "https://me:s3cret@host/list.csv",
]


@pytest.mark.parametrize("location", WITH_SECRETS)
def test_a_location_with_a_secret_is_refused_without_repeating_it(location: str) -> None:
    with pytest.raises(InputError) as caught:
        split_url(location)
    told = str(caught.value)
    assert "s3cret" not in told
    assert "AKIAKEY" not in told
    assert told.startswith(f"{location.split('://')[0]}://")
    assert "\n" not in told


@pytest.mark.parametrize(
    "location",
    ["s3://bucket/run?region=eu&endpoint_override=minio:9000", "abfss://box@account.dfs.core.windows.net/a", "/a@b:c"],
)
def test_what_is_no_secret_may_stand(location: str) -> None:
    assert not has_secret(location)
    assert without_secrets("s3://bucket/run?region=eu") == "s3://bucket/run"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["status"], ["query", "SELECT 1"], ["retry"], ["run", "--out"]])
def test_no_command_repeats_a_secret(command: list[str], tmp_path: Path) -> None:
    location = WITH_SECRETS[0]
    words = {"run": ["run", str(tmp_path), "--out", location], "query": ["query", location, "SELECT 1"]}
    arguments = words.get(command[0], [command[0], location])
    (tmp_path / "a.csv").write_text("url,text\nhttp://a.example/1.jpg,a\n")
    done = subprocess.run([sys.executable, "-m", "capfilt", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "a key in the URL would be stored and shown" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_nothing_of_the_environment_or_of_urls_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of a run whose input holds passwords, under an environment full of keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "s3cret")
    urls = tmp_path / "urls.csv"
    urls.write_text("url,text\n" + "".join(f"http://me:s3cret@a{n}.example/{n}.jpg,a cat\n" for n in range(50)))
    recipe = load_recipe()
    plan = make_plan([str(urls)], recipe.input)
    ledger = Ledger.at(tmp_path / "out")
    ledger.write_plan(plan.chunks, [(f.identity, f.size, f.sha256) for f in plan.inputs], recipe, {}, {})
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"plan.parquet", "run.toml"}
    for path in files:
        assert b"s3cret" not in path.read_bytes()
    assert "s3cret" not in str(ledger.read_plan())
    for chunk in plan.chunks:
        rows = read(chunk).to_pylist()
        assert "s3cret" not in str(rows)
        assert {row["url"].partition("@")[0] for row in rows} == {"http://***"}
    assert Folder.at(tmp_path / "out").exists("run.toml")


KEYS = ["sk-abcdefghijklmnop1234", "hf_abcdefghijklmnopqrstuvwx", "AKIAABCDEFGHIJKLMNOP", "ghp_" + "a" * 36]


@pytest.mark.parametrize("key", [*KEYS, "https://me:pass@host/a", "https://host/a?sig=abc", "s3://b/a?secret_key=abc"])
def test_a_key_is_hidden_by_its_value(key: str) -> None:
    said = redact(f"cannot open {key} today")
    assert said.startswith("cannot open ")
    assert said.endswith(" today")
    assert not {"pass", "abc", key} & set(re.split(r"[/?=:@ ]", said))


@pytest.mark.parametrize("text", ["a dog on a hill", "https://host/a?page=2", "caption.max_tokens = 5", "skip hf_ ask"])
def test_what_is_no_key_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "change",
    [
        "endpoint.api_key=s3cret",
        "engine.ray.password=s3cret",
        "no_section_token=s3cret",
        "fetch.contact.x=https://me:s3cret@h/",
    ],
)
def test_a_setting_that_is_refused_does_not_repeat_its_value(change: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("blip", (change,))
    assert "s3cret" not in str(caught.value)


def test_what_ray_is_given_in_secret_stands_in_no_file(tmp_path: Path) -> None:
    ray = '{runtime_env = {env_vars = {HF = "s3cret"}, pip = ["a"]}, num_cpus = 4}'
    recipe = load_recipe("blip", (f"engine.ray={ray}",))
    (tmp_path / "a.csv").write_text("url,text\nhttp://a.example/1.jpg,a\n")
    plan = make_plan([str(tmp_path / "a.csv")], recipe.input)
    ledger = Ledger.at(tmp_path / "out")
    ledger.write_plan(plan.chunks, [(f.identity, f.size, f.sha256) for f in plan.inputs], recipe, {}, {})
    assert "s3cret" not in (tmp_path / "out" / "run.toml").read_text()
    assert ledger.run["recipe"]["engine"]["ray"] == {"runtime_env": {"pip": ["a"]}, "num_cpus": 4}


@pytest.mark.parametrize(
    "change", ['engine.ray={runtime_env={env_vars={A="s3cret"}}}', "caption.captioner=http://me:s3cret@host/v1"]
)
def test_a_job_takes_no_secret_along(change: str) -> None:
    spec = JobSpec(("s3://bucket/in",), "s3://bucket/out", settings=(change,))
    with pytest.raises(ConfigError) as caught, runtime_env(spec):
        pass
    assert "s3cret" not in str(caught.value)


def test_a_key_in_an_environment_variable_of_a_job_is_seen_by_its_value() -> None:
    with pytest.raises(ConfigError, match="--env MY_VARIABLE") as caught:
        environment([f"MY_VARIABLE={KEYS[0]}"], {})
    assert KEYS[0] not in str(caught.value)


def test_the_key_of_a_page_stands_in_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    _open("http://127.0.0.1:1/#key=s3cret")
    (address,) = opened
    page = Path(address.removeprefix("file://"))
    assert "s3cret" not in address
    assert "s3cret" in page.read_text()
    assert page.stat().st_mode & 0o077 == 0
    page.unlink()


@pytest.mark.parametrize("statement", ["COPY (SELECT 1) TO '{}/a.csv'", "INSERT INTO x VALUES (1) RETURNING *"])
@pytest.mark.parametrize("query", ["WITH a AS ({}) FROM a", "SELECT (WITH a AS ({}) SELECT 1)"])
def test_a_statement_that_writes_is_seen_at_any_depth(tmp_path: Path, query: str, statement: str) -> None:
    connection = duckdb_sandbox.connect({}, "1GB")
    assert not duckdb_sandbox.reads_only(connection, query.format(statement.format(tmp_path)))


def test_a_query_has_no_directory_to_write_to() -> None:
    with duckdb_sandbox.connect({}) as connection:
        assert connection.sql("SELECT current_setting('temp_directory')").fetchall() == [("",)]


def test_a_worker_s_log_and_a_failed_row_hide_what_looks_like_a_key(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a library may hold the URL it asked, password and all; Ray keeps the logs of its workers."""
    planned = PlannedChunk(Chunk("000007", (Part("lists", "x.csv", "x.csv", 0, 0, {}),)), "d")

    def stage(rows: pa.Table, _: PlannedChunk) -> pa.Table:
        raise OSError("https://me:hunter2@models.example/v1 refused sk-abcdefghijklmnopqrstuv")

    with caplog.at_level("ERROR"):
        after = run_stages(pa.Table.from_pylist([new_row(planned)], CHUNK_ROW), {"caption": stage})
    error = after["error"][0].as_py()
    assert error == "caption: OSError: https://***@models.example/v1 refused ***"
    assert "chunk 000007" in caplog.text
    rows = pa.Table.from_pylist([{"uid": "1", "source": "x#1", "texts": []}], ROWS)
    detail = mark_poison(rows, "score", {0: "asked https://me:hunter2@models.example/v1"})["detail"][0].as_py()
    assert detail == "asked https://***@models.example/v1"
    for secret in ("hunter2", "sk-abc"):
        assert secret not in caplog.text + error + detail


def test_a_full_disk_leaves_a_line_in_the_log_and_a_fault_of_ours_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    planned = PlannedChunk(Chunk("000007", (Part("lists", "x.csv", "x.csv", 0, 0, {}),)), "d")

    def failing(error: Exception) -> str:
        def stage(rows: pa.Table, _: PlannedChunk) -> pa.Table:
            raise error

        caplog.clear()
        run_stages(pa.Table.from_pylist([new_row(planned)], CHUNK_ROW), {"commit": stage})
        return caplog.text

    assert "Traceback" not in failing(OSError(28, "No space left on device", "images/000007.parquet"))
    assert "Traceback" in failing(KeyError("a"))
