"""The layers are law: who may import what."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import import_graph

ROOT = Path(__file__).resolve().parent.parent
GROUND = ("core", "ledger")
"""The ground floor of `capfilt/`: everything may stand on it, and it stands on nothing of ours but itself."""
STANDARD_LIBRARY_ONLY = ("capfilt.core.errors", "capfilt.core.plugins", "capfilt.core.clients", "capfilt.core.disk")
"""What models/ may use of the ground floor: it needs no package at all."""
FORBIDDEN = {
    "models": {"ray", "pyarrow", "duckdb", "typer", "rich"},
    "pipelines": {"typer", "rich"},
    "ground": {"torch", "ray", "typer", "rich", "transformers"},
}


def python_files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names a file imports; with `top_level_only` what importing the file costs, not what its functions do."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def roots(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", python_files("models"), ids=str)
def test_models_know_tensors_only(path: Path) -> None:
    names = list(imports(path))
    assert not roots(iter(names)) & FORBIDDEN["models"]
    upward = [
        n for n in names if n.startswith("capfilt.") and not n.startswith(("capfilt.models", *STANDARD_LIBRARY_ONLY))
    ]
    assert not upward


@pytest.mark.parametrize("path", python_files("pipelines"), ids=str)
def test_pipelines_know_rows_and_only_the_engine_knows_ray(path: Path) -> None:
    engine = path.is_relative_to(ROOT / "pipelines" / "engine")
    assert not roots(imports(path)) & (FORBIDDEN["pipelines"] | (set() if engine else {"ray"}))
    assert not roots(imports(path, top_level_only=True)) & {"torch", "transformers", "open_clip", "img2dataset"}
    allowed = ("capfilt.pipelines", "capfilt.models", *(f"capfilt.{name}" for name in GROUND))
    assert not [n for n in imports(path) if n.startswith("capfilt.") and not n.startswith(allowed)]


@pytest.mark.parametrize("path", [path for name in GROUND for path in python_files(f"capfilt/{name}")], ids=str)
def test_the_ground_floor_stands_below_everything(path: Path) -> None:
    assert not roots(imports(path)) & FORBIDDEN["ground"]
    allowed = tuple(f"capfilt.{name}" for name in GROUND)
    assert not [n for n in imports(path) if n.startswith("capfilt") and not n.startswith(allowed)]


@pytest.mark.parametrize("path", [*python_files("models"), *python_files("pipelines"), *python_files("tests")], ids=str)
def test_the_two_folders_are_imported_by_their_full_names(path: Path) -> None:
    assert not roots(imports(path)) & {"models", "pipelines"}


def test_no_files_and_no_folders_import_in_a_circle() -> None:
    assert import_graph.circles(import_graph.module_graph()) == []
    assert import_graph.circles(import_graph.room_graph()) == []


def test_a_folder_is_small_enough_to_survey() -> None:
    """Twelve files flat, `__init__.py` not counted."""
    assert {name: count for name, count in import_graph.files_by_folder().items() if count > 12} == {}


def test_a_public_class_name_means_one_class() -> None:
    assert import_graph.repeated_classes() == {}


@pytest.mark.parametrize("name", ["models", "pipelines"])
def test_links_are_links(name: str) -> None:
    link = ROOT / "capfilt" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"


@pytest.mark.slow
def test_torch_and_torchvision_are_a_pair_that_works() -> None:
    """An older CPU torch beside a newer torchvision imports, and then its operators are missing."""
    script = (
        "import torch, torchvision, open_clip\n"
        "boxes = torch.tensor([[0., 0., 1., 1.], [0., 0., 1., 1.]])\n"
        "assert torchvision.ops.nms(boxes, torch.tensor([.9, .8]), .5).tolist() == [0]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


LOADS = {
    "from_pretrained",
    "from_config",
    "create_model",
    "create_model_and_transforms",
    "create_model_from_pretrained",
    "get_tokenizer",
    "load_checkpoint",
    "load_state_dict_from_url",
    "load_file",
    "safe_open",
    "from_file",
    "hf_hub_download",
    "snapshot_download",
    "get_class_from_dynamic_module",
    "HFTokenizer",
}
"""Calls by which a library reads a checkpoint or asks a hub for one."""
LOADING_MODULES = {"timm", "pickle", "dill", "joblib", "shelve", "marshal", "peft", "kernels"}
DOORS = {"models/formats/guarded.py": LOADS - {"snapshot_download"}, "models/formats/hub.py": {"snapshot_download"}}


def loading_calls(path: Path) -> set[str]:
    """Names of the loading calls in a file, `torch.load` and `torch.jit.load` among them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= LOADS & {alias.name for alias in node.names}
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        found |= {last} & LOADS
        if last == "load" and name.partition(".")[0] in ("torch", "pickle", "numpy", "np"):
            found.add(name)
    return found


@pytest.mark.parametrize(
    "path", [path for name in ("models", "pipelines", "capfilt") for path in python_files(name)], ids=str
)
def test_one_door_leads_to_the_libraries_that_load_models(path: Path) -> None:
    """Whatever reads a checkpoint goes through `models/formats/guarded.py`, where code and hosts are refused."""
    name = str(path.relative_to(ROOT))
    allowed = DOORS.get(name, set()) | ({"torch.load"} if name in DOORS else set())
    assert loading_calls(path) - allowed == set()
    assert not roots(imports(path)) & LOADING_MODULES
