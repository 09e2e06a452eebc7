"""Runs as jobs of a Ray cluster: submitted over HTTP, followed, stopped.

A job is the command `capfilt run`, started by the cluster with the capfilt that is installed there. Nothing of the
directory it is submitted from travels along: only a recipe file, if one is named, and with `ship` this very package.
"""

import asyncio
import logging
import os
import shlex
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from capfilt.core.errors import ConfigError, RunFailed
from capfilt.core.secrets import has_secret_setting, is_secret_name, redact, without_secret_settings
from capfilt.core.serialization import to_toml
from capfilt.core.storage import has_secret
from capfilt.core.version import __version__
from capfilt.ledger.locking import lease
from capfilt.pipelines.recipes.load import load_recipe, read_settings

PASSED: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables that a job gets as they are here. No keys: who sees the dashboard could read them."""

VERDICTS: Final = (0, 1, 2)
"""Exit codes that capfilt sets; after any other one the driver died, and a resubmitted job resumes."""

ENDED: Final = ("SUCCEEDED", "FAILED", "STOPPED")  # Ray's others are PENDING and RUNNING

PATIENCE: Final = 120.0
"""Seconds that a cluster may not answer while a job is followed: its head node may be restarting."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RayJob:
    """What the cluster says of a job."""

    name: str
    status: str  # PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED
    out: str  # "" = not a job of capfilt's
    started: float | None  # seconds since 1970
    ended: float | None
    message: str
    exit_code: int | None  # of the driver; None = running, or the end was not observed

    @property
    def died(self) -> bool:
        """Whether its driver went without a word of its own."""
        return self.status == "FAILED" and self.exit_code not in VERDICTS


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A run to be done by a cluster; fields as the options of `capfilt run`."""

    inputs: tuple[str, ...]
    out: str
    recipe: str = "blip"
    settings: tuple[str, ...] = ()
    limit: int | None = None
    env: tuple[str, ...] = ()  # NAME or NAME=VALUE
    ship: bool = False  # send this package along; its dependencies must be there
    exclude_eval: tuple[str, ...] = ()
    append: bool = False
    watch: float | None = None  # seconds

    @property
    def locations(self) -> tuple[str, ...]:
        """Every path and URL that the nodes of the cluster must be able to open."""
        return (*self.inputs, *self.exclude_eval, self.out)

    def command(self) -> str:
        """What the cluster is to start."""
        recipe = Path(self.recipe).name if self.recipe.endswith(".toml") else self.recipe
        words = ["python", "-m", "capfilt", "run", *map(_absolute, self.inputs), "--out", _absolute(self.out)]
        words += ["--recipe", recipe, "--address", "auto"]
        words += [word for setting in self.settings for word in ("--set", setting)]
        words += [word for place in self.exclude_eval for word in ("--exclude-eval", _absolute(place))]
        words += ["--limit", str(self.limit)] if self.limit else []
        words += ["--append"] * self.append
        return shlex.join(words + (["--watch", f"{self.watch:g}"] if self.watch else []))


@contextmanager
def runtime_env(spec: JobSpec) -> Iterator[dict[str, Any]]:
    """What a job ships; its files exist as long as the context.

    Raises:
        ConfigError: a recipe or setting that is wrong, a key in a URL, or a variable that may hold one.
    """
    load_recipe(spec.recipe, spec.settings)  # a mistake is reported here, not by the job
    for location in spec.locations:
        if has_secret(location):
            raise ConfigError("a key in a URL would be stored and shown; set it in the environment of the nodes")
    for change in spec.settings:
        if has_secret_setting(change):
            name = change.partition("=")[0]
            raise ConfigError(f"--set {name}: a job is shown with its command; set keys on the nodes themselves")
    env: dict[str, Any] = {"env_vars": environment(spec.env, os.environ)}
    with tempfile.TemporaryDirectory() as folder:
        if spec.recipe.endswith(".toml"):
            text = to_toml(without_secret_settings(read_settings(spec.recipe)))  # its bases are in it
            (Path(folder) / Path(spec.recipe).name).write_text(text, encoding="utf-8")
            env["working_dir"] = folder
        if spec.ship:
            # py_modules, not pip or uv: the nodes run one image, and making an environment for each job is slow.
            env |= {"py_modules": [str(Path(__file__).parent.parent)], "excludes": ["**/__pycache__/**"]}
        yield env


def environment(named: Iterable[str], here: Mapping[str, str]) -> dict[str, str]:
    """Variables for a job: those of `PASSED` that are set here, and what was asked for as NAME or NAME=VALUE.

    Raises:
        ConfigError: one that may hold a key, or is not set.
    """
    found = {name: here[name] for name in PASSED if name in here}
    for text in named:
        name, given, value = text.partition("=")
        if is_secret_name(name) or redact(value) != value:
            raise ConfigError(f"--env {name}: jobs are shown with their environment; set keys on the nodes themselves")
        if not given and name not in here:
            raise ConfigError(f"--env {name}: it is not set here; give it as {name}=VALUE")
        found[name] = value if given else here[name]
    return found


class Cluster:
    """The job server of a Ray cluster.

    Raises:
        ConfigError: nothing answers at the address, or it is no Ray job server.
    """

    def __init__(self, address: str) -> None:
        from ray.job_submission import JobSubmissionClient

        self.address = address
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # it tells of every log that ends
        try:
            self.client = JobSubmissionClient(address)
        except Exception as error:  # Ray raises ConnectionError, RuntimeError and others of requests
            raise ConfigError(f"--address {address}: {' '.join(str(error).split())[:200]}") from error

    def submit(self, spec: JobSpec) -> str:
        """Hand a run in; gives its name.

        Raises:
            RunFailed: the cluster does not take it; one line.
        """
        # A name of our own: Ray answers 500 to a submission id it has seen, whatever came of that job.
        name = f"capfilt-{uuid.uuid4().hex[:8]}"
        about = {"capfilt": __version__, "out": _absolute(spec.out)}
        with runtime_env(spec) as env:
            try:
                self.client.submit_job(entrypoint=spec.command(), submission_id=name, runtime_env=env, metadata=about)
            except RuntimeError as error:
                raise RunFailed(
                    f"{self.address} does not take the job: {' '.join(str(error).split())[:200]}"
                ) from error
        return name

    def job(self, name: str) -> RayJob:
        """How a job is.

        Raises:
            ConfigError: there is none of that name.
        """
        try:
            return _job(self.client.get_job_info(name))
        except RuntimeError as error:
            raise ConfigError(f"job {name!r}: not known at {self.address}; see `capfilt jobs`") from error

    def jobs(self) -> list[RayJob]:
        """All jobs, the latest first."""
        found = [_job(details) for details in self.client.list_jobs() if details.submission_id]
        return sorted(found, key=lambda job: -(job.started or 0))

    def stop(self, name: str) -> RayJob:
        """Ask a job to stop; it drops what is in flight and keeps what is committed."""
        if self.job(name).status not in ENDED:
            self.client.stop_job(name)
        return self.job(name)

    def wait(self, name: str, tell: Say | None) -> RayJob:
        """Wait until a job ended, telling what it says meanwhile.

        Raises:
            RunFailed: the cluster does not answer any more.
        """
        told, lost = 0, 0.0
        while True:
            try:
                if tell:
                    told = asyncio.run(self._tell(name, tell, told))
                job = _job(self.client.get_job_info(name))
                if job.status in ENDED:
                    return job
                lost = 0.0
            except Exception as error:  # of aiohttp, requests or Ray: the connection, or the head, is gone
                lost = lost or time.monotonic()
                if time.monotonic() - lost > PATIENCE:
                    raise RunFailed(f"{self.address} does not answer: {' '.join(str(error).split())[:200]}") from error
            time.sleep(1)

    async def _tell(self, name: str, tell: Say, told: int) -> int:
        """Pass on whole lines until the log ends; the number of lines passed on in all."""
        number, rest = 0, ""
        async for text in self.client.tail_job_logs(name):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                number += 1
                if number > told:
                    tell(_plain(line))
        if rest and number >= told:  # a last line without an end, as of a driver that was killed
            number += 1
            tell(_plain(rest))
        return max(number, told)


def _plain(line: str) -> str:
    """A line without the colors that Ray gives to what its workers say."""
    return Text.from_ansi(line).plain.expandtabs()


def wait_and_resubmit(
    cluster: Cluster, spec: JobSpec, name: str, tell: Say | None, note: Say, tries: int = 3
) -> RayJob:
    """Wait for a job; if its driver dies, submit the run again, which resumes it.

    Args:
        tell: is given what the job says, line by line.
        note: is given what happens to it.
        tries: drivers in all.
    """
    for left in reversed(range(tries)):
        job = cluster.wait(name, tell)
        if not (job.died and left):
            return job
        pause = lease.TERM if "://" in spec.out else 0.0  # so long a dead driver holds a bucket
        note(f"the driver of {name} died ({job.message}); handed in again{f' in {pause:.0f} s' if pause else ''}")
        time.sleep(pause)
        name = cluster.submit(spec)
        note(f"job: {name}")
    raise AssertionError("a job was tried at least once")


def _job(details: Any) -> RayJob:
    started, ended = (stamp / 1000 if stamp else None for stamp in (details.start_time, details.end_time))
    out, message = (details.metadata or {}).get("out", ""), " ".join((details.message or "").split())
    message = message.partition(", last available logs")[0]  # which who follows has seen
    status = str(details.status.value)
    return RayJob(details.submission_id, status, out, started, ended, message, details.driver_exit_code)


def _absolute(location: str) -> str:
    """A path as the nodes must see it too; URLs and globs of URLs as they are."""
    return location if "://" in location else os.path.abspath(os.path.expanduser(location))


def local_paths(locations: Sequence[str]) -> list[str]:
    """Those that are paths: a cluster sees them only where nodes share the folder."""
    return [location for location in locations if "://" not in location]
