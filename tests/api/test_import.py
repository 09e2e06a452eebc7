"""`import capfilt` is light, and its names are what they are called."""

import ast
import inspect
import pkgutil
import subprocess
import sys

import pytest

import capfilt


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("torch", "ray", "duckdb", "pyarrow", "numpy", "pydantic", "typer", "rich")
    script = f"import sys, capfilt; dir(capfilt); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_what_needs_no_model_loads_no_torch_and_no_ray() -> None:
    script = (
        "import sys, capfilt\n"
        "capfilt.run, capfilt.open, capfilt.load_judge, capfilt.list_judges(), capfilt.list_policies()\n"
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_is_there_and_documented() -> None:
    assert set(capfilt.__all__) <= set(dir(capfilt))
    for name in capfilt.__all__:
        value = getattr(capfilt, name)
        assert name == "__version__" or inspect.getdoc(value), name
    for name, member in inspect.getmembers(capfilt.Run):
        assert name.startswith("_") or inspect.getdoc(member), name


@pytest.mark.slow
def test_no_name_is_shadowed_by_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(capfilt.__path__)}
    assert not modules & set(capfilt.__all__)
    script = (
        "import capfilt.cli, capfilt.commands.run, capfilt.pipelines.query, capfilt.api.run, capfilt.pipelines.plan\n"
        "print(type(capfilt.run).__name__, type(capfilt.open).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "function function\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(capfilt, "runs")


def test_a_type_checker_is_told_where_every_name_is_from() -> None:
    """The imports that only it sees, which `make lint` checks, are those that are made when a name is used."""
    tree = ast.parse(inspect.getsource(capfilt))
    shown = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*shown, "__version__"} == set(capfilt.__all__)
    for name, module in shown.items():
        assert getattr(capfilt, name) is getattr(sys.modules[str(module)], name)
