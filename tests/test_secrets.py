"""Keys and passwords: refused where they come in, and never in a file or message of a run."""

import subprocess
import sys
from pathlib import Path

import pytest

from capfilt.core.errors import InputError
from capfilt.core.storage import Folder, has_secret, split_url, without_secrets
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.read import read

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
