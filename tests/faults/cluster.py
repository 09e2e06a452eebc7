"""A Ray cluster of two nodes on one machine, one of which may be killed at any time."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
SMALL = ("--num-cpus=2", "--object-store-memory=200000000", "--disable-usage-stats", "--block")
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_BACKEND_LOG_LEVEL": "fatal"}  # loopback only
FAIR = {"RAY_worker_niceness": "0"}  # Ray's default of 15 gives its workers next to nothing beside two busy processes
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def processes() -> dict[int, tuple[int, str]]:
    """Parent and command line of every process."""
    found = {}
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit():
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(path.name)] = (parent, (path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, ValueError):
            continue
    return found


class Cluster:
    """A head and a second node, as `ray start` makes them; workers have the environment given."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.log = log.open("ab")
        self.environment = environment | QUIET | FAIR
        self.address = f"{HOST}:{free_port()}"
        port = self.address.partition(":")[2]
        self.head = self._start("--head", f"--port={port}", "--include-dashboard=false")
        self._wait_for_head(int(port))
        self.second = self._join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in (self.second, self.head):
            kill([node.pid, *_below(node.pid)])
            node.wait()
        self.log.close()

    def workers(self, name: str = "") -> list[int]:
        """Ray's worker processes of both nodes whose title contains `name`."""
        found = processes()
        own = [pid for node in (self.head, self.second) for pid in _below(node.pid, found)]
        titles = {pid: found[pid][1] for pid in own if found[pid][1].startswith("ray::")}
        return sorted(pid for pid, title in titles.items() if name in title and not title.startswith(AGENTS))

    def kill_second(self) -> bool:
        """SIGKILL to the second node's raylet, and another node in its place; whether there was one to kill."""
        found = processes()
        raylets = [pid for pid in _below(self.second.pid, found) if "/raylet " in found[pid][1]]
        if not raylets or not [pid for pid in _below(raylets[0], found) if found[pid][1].startswith("ray::")]:
            return False
        kill(raylets)
        self.second.wait()
        kill(_below(self.second.pid, found))
        self.second = self._join()
        return True

    def _join(self) -> "subprocess.Popen[bytes]":
        return self._start(f"--address={self.address}")

    def _start(self, *options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={HOST}", *SMALL, *options]
        command += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
        return subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)

    def _wait_for_head(self, port: int) -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and self.head.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"the cluster's head did not start; see {self.log.name}")


def _below(pid: int, found: dict[int, tuple[int, str]] | None = None) -> list[int]:
    """Every process under one."""
    found = processes() if found is None else found
    family = {pid}
    while more := {child for child, (parent, _) in found.items() if parent in family} - family:
        family |= more
    return sorted(family - {pid})


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
