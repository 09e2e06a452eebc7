"""What is handed to a cluster, and what is not; the cluster itself is in tests/pipelines/engine/test_cluster.py."""

import json
import shlex
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from capfilt.commands.ray_jobs import Cluster, JobSpec, RayJob, environment, runtime_env
from capfilt.core.errors import ConfigError, RunFailed
from capfilt.pipelines.recipes.load import load_recipe

S3 = JobSpec(("s3://in/a b", "s3://in/*.tar"), "s3://out/run")


def test_a_job_is_the_same_command() -> None:
    order = JobSpec(S3.inputs, S3.out, "demo", ("caption.n=2", "score.judges=['x y']"), 100)
    assert shlex.split(order.command()) == [
        *("python", "-m", "capfilt", "run", "s3://in/a b", "s3://in/*.tar", "--out", "s3://out/run"),
        *("--recipe", "demo", "--address", "auto"),
        *("--set", "caption.n=2", "--set", "score.judges=['x y']", "--limit", "100"),
    ]


def test_a_job_may_append() -> None:
    assert shlex.split(JobSpec(S3.inputs, S3.out, append=True).command())[-1] == "--append"
    watching = shlex.split(JobSpec(S3.inputs, S3.out, append=True, watch=3600).command())
    assert watching[-3:] == ["--append", "--watch", "3600"]


def test_paths_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"run {tmp_path}/in --out {tmp_path}/out" in JobSpec(("in",), "out").command()


def test_a_job_leaves_out_the_evaluation_sets_that_were_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    spec = JobSpec(("in",), "out", exclude_eval=("eval", "s3://test/coco"))
    words = shlex.split(spec.command())
    assert words[-4:] == ["--exclude-eval", f"{tmp_path}/eval", "--exclude-eval", "s3://test/coco"]
    assert set(spec.locations) == {"in", "out", "eval", "s3://test/coco"}
    with (
        pytest.raises(ConfigError, match="a key in a URL"),
        runtime_env(JobSpec(("in",), "out", exclude_eval=KEYED)),
    ):
        pass


KEYED = ("s3://name:secret@bucket/eval",)


def test_nothing_travels_by_accident(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with runtime_env(S3) as env:
        assert env == {"env_vars": env["env_vars"]}
        assert env["env_vars"]["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
        assert "secret-of-a-test" not in yaml.dump(env)


def test_a_recipe_file_travels_alone_with_its_bases_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "big.bin").write_bytes(bytes(1_000_000))
    (tmp_path / "mine.toml").write_text('base = "blip2"\nname = "mine"\n[caption]\nn = 3\n')
    order = JobSpec(S3.inputs, S3.out, "mine.toml")
    assert "--recipe mine.toml" in order.command()
    with runtime_env(order) as env:
        (sent,) = Path(env["working_dir"]).iterdir()
        assert load_recipe(str(sent)) == load_recipe("mine.toml")
        assert "base" not in sent.read_text().split("[")[0]
    assert not sent.exists()


def test_the_package_travels_if_asked_for() -> None:
    with runtime_env(JobSpec(S3.inputs, S3.out, ship=True)) as env:
        (package,) = env["py_modules"]
    assert Path(package, "cli", "runs", "jobs.py").is_file()
    assert Path(package).name == "capfilt"


def test_variables_by_name_or_value_but_no_keys() -> None:
    assert environment(("HF_HOME", "A=b=c"), {"HF_HOME": "/models"}) == {"HF_HOME": "/models", "A": "b=c"}
    for name, said in (
        ("AWS_SECRET_ACCESS_KEY", "set keys on the nodes"),
        ("HF_TOKEN=x", "set keys"),
        ("NO", "not set"),
    ):
        with pytest.raises(ConfigError, match=said):
            environment((name,), {})


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (JobSpec(S3.inputs, S3.out, "nope"), "recipe 'nope' is not known"),
        (JobSpec(S3.inputs, S3.out, settings=("caption.nn=1",)), "unknown setting caption.nn"),
        (JobSpec(("s3://key:secret@in/x",), S3.out), "a key in a URL"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(order: JobSpec, said: str) -> None:
    with pytest.raises(ConfigError, match=said), runtime_env(order):
        pass


@pytest.mark.parametrize(("code", "died"), [(None, True), (-9, True), (137, True), (1, False), (2, False)])
def test_a_driver_that_spoke_is_not_tried_again(code: int | None, died: bool) -> None:
    assert RayJob("capfilt-1", "FAILED", "out", 0.0, 1.0, "", code).died is died


def test_nobody_at_the_address_is_told_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"--address http://127\.0\.0\.1:9") as caught:
        Cluster("http://127.0.0.1:9")
    assert "\n" not in str(caught.value)


class StillStarting(BaseHTTPRequestHandler):
    """A job server as Ray's is before its agent has come up."""

    def do_GET(self) -> None:
        self.answer(
            200, json.dumps({"version": "4", "ray_version": version("ray"), "ray_commit": "", "session_name": ""})
        )

    def do_POST(self) -> None:
        self.answer(500, "No available agent to submit job, please try again later.")

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_a_cluster_that_takes_no_job_says_so_in_a_line() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), StillStarting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(RunFailed, match=f"{address} does not take the job: .*No available agent") as failed:
            Cluster(address).submit(S3)
        server.shutdown()
    assert "\n" not in str(failed.value)
