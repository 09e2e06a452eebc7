"""Code blocks of README and docs/ run, or say on their first line why they do not.

The blocks of one page run in order, in one folder: `python` in one namespace, `sh` in one shell process a block. A page
finds `photo.jpg` there and the finished run `OUT`; `getting-started.md` makes its own. A block whose first line is a
comment with a file name, `# my_models.py` or `-- my.sql`, is that file.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from capfilt.demo.world import jpeg, random_scene
from capfilt.pipelines.recipes.load import load_recipe

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PAGES: Final = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in path.parts or path.stem == "api"),
]
NOT_RUN: Final = "# not run: "
SHOWN: Final = {"text", "json"}
"""Languages of blocks that only show something."""


def run_shell(example: Example) -> None:
    if example.parsed.startswith(NOT_RUN):
        return
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{example.path}:{example.line}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"


def read_recipe(example: Example) -> None:
    path = Path("recipe.toml")
    path.write_text(example.parsed, encoding="utf-8")
    load_recipe(str(path))


def run_python(example: Example) -> str | None:
    if example.parsed.startswith(NOT_RUN) or is_written(example):
        return None
    return PythonEvaluator()(example)


def write_file(example: Example) -> None:
    assert is_written(example), "a block of SQL starts with the name of its file: `-- my.sql`"


def is_written(example: Example) -> bool:
    """Write a block that is a file; False where it is none."""
    if named := re.match(r"(?:#|--) ([\w-]+\.\w+)\n", example.parsed):
        Path(named[1]).write_text(example.parsed, encoding="utf-8")
    return bool(named)


SYBIL: Final = Sybil(
    [
        CodeBlockParser("python", run_python),
        CodeBlockParser("sh", run_shell),
        CodeBlockParser("toml", read_recipe),
        CodeBlockParser("sql", write_file),
    ]
)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(jpeg(random_scene(np.random.default_rng(0)), 96))
    if page.stem != "getting-started":
        shutil.copytree(finished, tmp_path / "OUT")
    for example in SYBIL.parse(page).examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_names_a_language_that_is_run_or_only_shown(page: Path) -> None:
    fences = [line.strip() for line in page.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("```")]
    languages = {fence.removeprefix("```") for fence in fences[::2]}
    assert languages <= {"python", "sh", "toml", "sql"} | SHOWN
