"""The layers are law: who may import what."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
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


def python_files(*folders: str) -> list[Path]:
    return sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts
    )


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path, top_level_only: bool = False) -> frozenset[str]:
    """Dotted names a file imports; with `top_level_only` what importing the file costs, not what its functions do."""
    tree, found = tree_of(path), set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return frozenset(found)


def roots(names: frozenset[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def offenders(files: list[Path], wrong: Callable[[Path], set[str]]) -> dict[str, set[str]]:
    """What is wrong in each file, by its name; files where nothing is are not there."""
    assert files
    return {str(path.relative_to(ROOT)): found for path in files if (found := wrong(path))}


def beyond(path: Path, *allowed: str) -> set[str]:
    """What a file imports of ours that stands outside the allowed rooms."""
    return {name for name in imports(path) if name.startswith("capfilt.") and not name.startswith(allowed)}


def test_models_know_tensors_only() -> None:
    def wrong(path: Path) -> set[str]:
        forbidden = roots(imports(path)) & FORBIDDEN["models"]
        return forbidden | beyond(path, "capfilt.models", *STANDARD_LIBRARY_ONLY)

    assert offenders(python_files("models"), wrong) == {}


def test_pipelines_know_rows_and_only_the_engine_knows_ray() -> None:
    heavy = {"torch", "transformers", "open_clip", "img2dataset"}

    def wrong(path: Path) -> set[str]:
        engine = path.is_relative_to(ROOT / "pipelines" / "engine")
        forbidden = roots(imports(path)) & (FORBIDDEN["pipelines"] | (set() if engine else {"ray"}))
        upward = beyond(path, "capfilt.pipelines", "capfilt.models", *(f"capfilt.{name}" for name in GROUND))
        return forbidden | upward | roots(imports(path, top_level_only=True)) & heavy

    assert offenders(python_files("pipelines"), wrong) == {}


def test_the_ground_floor_stands_below_everything() -> None:
    def wrong(path: Path) -> set[str]:
        whole = imports(path) & {"capfilt"}
        return (
            roots(imports(path)) & FORBIDDEN["ground"] | whole | beyond(path, *(f"capfilt.{name}" for name in GROUND))
        )

    assert offenders(python_files(*(f"capfilt/{name}" for name in GROUND)), wrong) == {}


def test_the_two_folders_are_imported_by_their_full_names() -> None:
    files = python_files("models", "pipelines", "tests")
    assert offenders(files, lambda path: roots(imports(path)) & {"models", "pipelines"}) == {}


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

LIBRARIES = {"models/formats/guarded.py": {"timm"}}


def loading_calls(path: Path) -> set[str]:
    """Names of the loading calls in a file, `torch.load` and `torch.jit.load` among them."""
    found = set()
    for node in ast.walk(tree_of(path)):
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


def test_one_door_leads_to_the_libraries_that_load_models() -> None:
    """Whatever reads a checkpoint goes through `models/formats/guarded.py`, where code and hosts are refused."""

    def wrong(path: Path) -> set[str]:
        name = str(path.relative_to(ROOT))
        allowed = DOORS.get(name, set()) | ({"torch.load"} if name in DOORS else set())
        return loading_calls(path) - allowed | roots(imports(path)) & (LOADING_MODULES - LIBRARIES.get(name, set()))

    assert offenders(python_files("models", "pipelines", "capfilt"), wrong) == {}


def test_no_file_uses_the_connection_of_the_duckdb_module() -> None:
    """In a notebook it is the user's: a question there can end a result that is half read, or fail because of it."""
    shared = {"sql", "execute", "query", "from_arrow", "from_df", "from_query", "read_parquet", "table", "view"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room in ("capfilt", "pipelines", "models")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in shared
        if isinstance(node.value, ast.Name) and node.value.id == "duckdb"
    ]
    assert found == []
