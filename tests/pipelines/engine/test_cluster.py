"""A real cluster on one machine: a head without work and two workers; a run is handed in over HTTP and disturbed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from capfilt.core.storage import Folder
from capfilt.ledger.status import status
from waiting import wait_until
from whole_run import commits, digests

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

HOST = "127.0.0.1"
TRIES = 4
"""Starts of a node: Ray gives its parts 30 s to come up, which a busy machine may miss."""


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind((HOST, 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def processes(*words: str) -> list[int]:
    """Processes whose command line holds all the words."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if entry.name.isdigit() and int(entry.name) != os.getpid() and all(word in command for word in words):
            found.append(int(entry.name))
    return found


@dataclass(frozen=True)
class Cluster:
    address: str  # of the job server
    metrics: str  # of the head's exporter
    home: Path
    env: dict[str, str]

    def capfilt(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "capfilt", *arguments, "--address", self.address]
        return subprocess.Popen(
            command, env=self.env, cwd=self.home, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def numbers(self) -> str:
        """What Prometheus would read on the head, where the driver is."""
        with urllib.request.urlopen(self.metrics, timeout=20) as answer:
            return str(answer.read().decode())

    def raylets(self) -> list[int]:
        """Processes of the workers' raylets."""
        heads = set(processes(str(self.home), "raylet/raylet ", " --head"))
        return [pid for pid in processes(str(self.home), "raylet/raylet ") if pid not in heads]


def start(env: dict[str, str], *options: str) -> None:
    """Start a node; a few times, if it must be. Two at once on one machine get in each other's way."""
    for _ in range(TRIES):
        node = subprocess.run(
            ["ray", "start", *options], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        if node.returncode == 0:
            return
    pytest.fail(f"this node did not start: {options}")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="ray"))  # short: sockets lie in it
    gcs, http, client, metrics, *agents = free_ports(7)
    changes = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_agent_register_timeout_ms": "120000",
        "RAY_metrics_report_interval_ms": "1000",
        "RAY_worker_niceness": "0",
        "RAY_usage_stats_enabled": "0",
        "OMP_NUM_THREADS": "1",
    }
    env = {**os.environ, **changes}
    listening = [f"--dashboard-agent-listen-port={port}" for port in agents]
    ports = [f"--port={gcs}", f"--dashboard-port={http}", f"--ray-client-server-port={client}"]
    try:
        kept = [f"--temp-dir={home}", f"--metrics-export-port={metrics}"]
        start(env, "--head", "--num-cpus=0", *kept, *ports, listening[0])
        for agent in listening[1:]:
            start(env, "--num-cpus=2", f"--address={HOST}:{gcs}", agent)
        yield Cluster(f"http://{HOST}:{http}", f"http://{HOST}:{metrics}/metrics", home, env)
    finally:
        for pid in processes(str(home)):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)


def wait(until: Callable[[], bool], job: "subprocess.Popen[str]") -> None:
    wait_until(until, alive=lambda: job.poll() is None, said=lambda: job.communicate()[0])


def test_a_job_outlives_a_node_and_its_driver(
    cluster: Cluster, calm: Path, pictures: Path, settings: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sets = [word for value in (*settings, "engine.workers=2") for word in ("--set", value)]
    job = cluster.capfilt("submit", str(pictures), "--out", str(out), "--follow", *sets)
    try:
        wait(lambda: commits(out) > 0, job)
        os.kill(cluster.raylets()[0], signal.SIGKILL)
        wait(lambda: commits(out) > 1, job)
        for driver in processes("python -m capfilt run", str(out), "--address auto"):  # and its shell, if there is one
            os.kill(driver, signal.SIGKILL)
        done = commits(out)
        wait(lambda: "ray_capfilt_rows_total{" in cluster.numbers(), job)
        said = job.communicate()[0]
    finally:
        job.kill()
    assert done < 12, "the kills came too late to prove anything"
    assert job.returncode == 0, said
    assert "died (Job entrypoint command failed with exit code -9); handed in again" in said
    assert "\x1b" not in said
    assert "sdk.py" not in said
    assert "12 of 12 chunks" not in said
    assert len(cluster.raylets()) == 1
    assert status(Folder.at(out)).complete
    assert digests(out) == digests(calm)


def test_what_it_did_can_be_seen(cluster: Cluster) -> None:
    listed = cluster.capfilt("jobs")
    told = listed.communicate()[0]
    assert "failed" in told
    assert "succeeded" in told


def test_a_job_can_be_stopped(cluster: Cluster, pictures: Path, settings: tuple[str, ...], tmp_path: Path) -> None:
    sets = [word for value in settings for word in ("--set", value)]
    given = cluster.capfilt("submit", str(pictures), "--out", str(tmp_path / "out"), *sets).communicate()[0]
    name = next(line.split()[1] for line in given.splitlines() if line.startswith("job: "))
    stopped = cluster.capfilt("stop", name).communicate()[0]
    assert f"{name}: stopped" in stopped
