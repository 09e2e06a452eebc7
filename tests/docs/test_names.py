"""Names in the prose and in the commands of the documentation exist: settings, commands, options, files."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from capfilt.bootstrap.config import BootstrapRecipe
from capfilt.cli import app
from capfilt.core.config import Recipe
from capfilt.training.config import recipe_type

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PAGES: Final = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FOLDERS: Final = ("capfilt", "models", "pipelines", "tests", "docs", "docker")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def settings() -> dict[str, set[str]]:
    """Keys by section, of all recipes."""
    found: dict[str, set[str]] = {}
    for recipe in (Recipe, recipe_type(), BootstrapRecipe):
        for name, field in recipe.model_fields.items():
            kind: Any = field.annotation
            if hasattr(kind, "model_fields"):
                found.setdefault(name, set()).update(kind.model_fields)
    return found


def code_of(page: Path) -> list[str]:
    """What stands between single backticks outside of blocks."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of every `capfilt ...` line in a `sh` block."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
        outside = re.sub(r"^cat > .*?^EOT$", "", block, flags=re.DOTALL | re.MULTILINE)
        for line in re.findall(
            r"^capfilt (?:[^\n\"']|\"[^\"]*\"|'[^']*')*", outside.replace("\\\n", " "), re.MULTILINE
        ):
            yield shlex.split(line, comments=True)  # a quoted argument may go on over lines


@pages
def test_settings_exist(page: Path) -> None:
    known = settings()
    for word in (*code_of(page), *(word for words in commands_of(page) for word in words)):
        named = re.fullmatch(r"(?:--set )?'?([a-z_]+)\.([a-z_]+)(?:\s*=.*)?'?", word)
        if named and named[1] in known and not (ROOT / word).exists() and named[2] not in ("py", "toml", "md"):
            assert named[2] in known[named[1]], word


@pages
def test_commands_and_their_options_exist(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    for words in commands_of(page):
        assert words[1] in group.commands or words[1].startswith("--"), words
        if command := group.commands.get(words[1]):
            options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, words


@pages
def test_files_exist(page: Path) -> None:
    for word in code_of(page):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", word):
            assert (ROOT / word).exists(), word


TEST: Final = re.compile(r"`(?:(test_\w+\.py)::)?(test_\w+)`")


def promises() -> list[tuple[str, str]]:
    """The rows of the tables of SECURITY.md that promise something, each with the file that its section names."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("## Promised")[1].split("## Not promised")[0]
    found = []
    for section in text.split("\n### "):
        named = re.search(r"\| promise \|.*test in `tests/(?:\w+/)*(test_\w+\.py)`", section)
        rows = [
            line for line in section.splitlines() if line.startswith("|") and not line.startswith(("|---", "| pro"))
        ]
        found += [(row, named[1] if named else "") for row in rows]
    return found


def test_every_promise_of_security_names_a_test_that_exists() -> None:
    files = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")}
    there = {
        (name, test) for name, text in files.items() for test in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    }
    rows = promises()
    assert len(rows) > 20
    for row, default in rows:
        named = [(file or default, test) for file, test in TEST.findall(row)]
        whole = re.findall(r"`(?:tests/(?:\w+/)*)?(test_\w+\.py)`", row)
        assert named or whole, f"no test stands beside: {row[:80]}"
        assert set(named) <= there, set(named) - there
        assert set(whole) <= files.keys(), whole
    prose = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert {pair for pair in TEST.findall(prose) if pair[0]} <= there
