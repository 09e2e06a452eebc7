"""`capfilt submit`, `capfilt jobs`, `capfilt stop`: runs on a Ray cluster."""

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.terminal.options import Append, ExcludeEval, Inputs, Limit, Out, RecipeName, RunSettings, Watch
from capfilt.core.formatting import seconds

if TYPE_CHECKING:
    from capfilt.commands.ray_jobs import RayJob

Address = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="RAY_API_SERVER_ADDRESS",
        help="Address of the cluster's job server.",
    ),
]
HERE = "http://127.0.0.1:8265"


def submit(
    inputs: Inputs,
    out: Out,
    address: Address = HERE,
    recipe: RecipeName = "blip",
    settings: RunSettings = None,
    exclude_eval: ExcludeEval = None,
    limit: Limit = None,
    append: Append = False,
    watch: Watch = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE]",
            help="Environment variable for the job; no secrets. Repeatable. Default: the AWS endpoint and region "
            "variables.",
            show_default=False,
        ),
    ] = None,
    ship: Annotated[
        bool, typer.Option("--ship", help="Upload this capfilt package. Default: use the one installed on the nodes.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until the job ends; exit with its exit code. Default: no."),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Like --wait, and print the job's output. Default: no.")
    ] = False,
) -> None:
    """Submit a run to a Ray cluster.

    Starts `capfilt run` there with the same arguments; a recipe file is uploaded. With --wait or --follow, a dead
    driver is resubmitted, up to three attempts. Submit again to resume a run.
    """
    from capfilt.cli.terminal import console
    from capfilt.commands.ray_jobs import Cluster, JobSpec, local_paths, wait_and_resubmit

    spec = JobSpec(
        tuple(inputs),
        out,
        recipe,
        tuple(settings or ()),
        limit,
        tuple(env or ()),
        ship,
        tuple(exclude_eval or ()),
        append,
        watch,
    )
    cluster = Cluster(address)
    for path in local_paths(spec.locations):
        console.complain("warning", f"{path} is a local path: all nodes must share this folder")
    name = cluster.submit(spec)
    console.say(f"job: {name}")
    if not (wait or follow):
        console.say(f"see: capfilt jobs --address {address}; capfilt stop {name} --address {address}")
        return
    job = wait_and_resubmit(cluster, spec, name, console.say if follow else None, console.say)
    console.say(f"{job.name}: {_state(job)}")
    if job.status != "SUCCEEDED":
        raise typer.Exit(job.exit_code or 1)


def jobs(address: Address = HERE) -> None:
    """List the jobs of a Ray cluster, latest first."""
    from capfilt.cli.terminal import console
    from capfilt.commands.ray_jobs import Cluster

    rows = [(job.name, _state(job), _when(job.started), _took(job), job.out or "-") for job in Cluster(address).jobs()]
    if not rows:
        console.say(f"no jobs at {address}")
        return
    console.table(("job", "status", "started", "took", "out"), rows)


def stop(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job listed by `capfilt jobs`.", show_default=False)],
    address: Address = HERE,
) -> None:
    """Stop a job; committed chunks are kept.

    Run the same `capfilt submit` to resume.
    """
    from capfilt.cli.terminal import console
    from capfilt.commands.ray_jobs import ENDED, Cluster

    cluster = Cluster(address)
    now = cluster.stop(job)
    # `stop` only asks for it: the driver has yet to end.
    while now.status not in ENDED:
        time.sleep(0.5)
        now = cluster.job(job)
    console.say(f"{job}: {_state(now)}")


def _state(job: "RayJob") -> str:
    code = f" ({job.exit_code})" if job.exit_code else ""
    return job.status.lower() + code


def _when(stamp: float | None) -> str:
    return datetime.fromtimestamp(stamp).strftime("%m-%d %H:%M") if stamp else "-"


def _took(job: "RayJob") -> str:
    return seconds((job.ended or time.time()) - job.started) if job.started else "-"
