"""The folder models/ runs where there is torch, transformers and safetensors, and none of the other packages."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ABSENT = ("ray", "pyarrow", "duckdb", "typer", "rich", "pydantic", "aiohttp", "open_clip", "timm", "img2dataset")
NEED_MORE = {
    "capfilt.models.judges.open_clip": "open_clip",
    "capfilt.models.captioners.openai_client": "aiohttp",
    "capfilt.models.captioners.endpoint": "aiohttp",
}
"""Modules that only load with the package they are about."""


@pytest.mark.slow
@pytest.mark.timeout(900)  # on a busy machine; 5 s of computing
def test_models_import_without_the_rest_of_the_project_s_packages() -> None:
    paths = sorted(path for path in (ROOT / "models").rglob("*.py") if path.name != "__init__.py")
    names = [".".join(("capfilt", *path.relative_to(ROOT).with_suffix("").parts)) for path in paths]
    wanted = [name for name in names if name not in NEED_MORE]
    code = (
        "import sys\n"
        f"for name in {ABSENT!r}:\n    sys.modules[name] = None\n"
        "import importlib\n"
        f"for name in {wanted!r}:\n    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(NEED_MORE) <= set(names)


@pytest.mark.parametrize(
    "name",
    [
        "registry.registry",
        "registry.resolve",
        "registry.catalog",
        "formats.hub",
        "formats.checkpoint",
        "qformer.config",
        "runtime",
        "captioners.openai_client",
    ],
)
def test_what_is_known_without_a_model_needs_no_torch(name: str) -> None:
    code = (
        f"import sys, capfilt.models.{name}\n"
        "print([heavy for heavy in ('torch', 'transformers', 'huggingface_hub', 'open_clip') if heavy in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
