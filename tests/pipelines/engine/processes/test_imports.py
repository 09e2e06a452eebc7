"""A run starts some ten processes: each imports what its own stages need."""

import subprocess
import sys

import pytest

EVERY_WORKER = "import sys, capfilt.pipelines.engine.ray_engine; print(*sys.modules)"


@pytest.fixture(scope="module")
def modules() -> set[str]:
    done = subprocess.run([sys.executable, "-c", EVERY_WORKER], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["torch", "ray", "aiohttp", "PIL", "tokenizers", "duckdb", "cv2"])
def test_what_every_worker_imports_holds_no_package_of_one_stage(modules: set[str], package: str) -> None:
    assert package not in modules


def test_what_every_worker_imports_holds_no_reader(modules: set[str]) -> None:
    assert not [name for name in modules if name.startswith("capfilt.pipelines.readers")]
