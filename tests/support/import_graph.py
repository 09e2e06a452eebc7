"""The import graph of the product: folders are rooms, an import between two folders is an arrow.

`python tests/support/import_graph.py` prints rooms, arrows, circles, files a folder, class names that stand twice and
the share of comment lines; `tests/test_architecture.py` reads the same graph.
"""

import ast
import io
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TOPS: Final = ("capfilt", "models", "pipelines")

Graph = dict[str, set[str]]
"""A room, and the rooms that it imports from."""


def product_files() -> list[Path]:
    """Every Python file that a user gets, by its place in the repository (never through the two links)."""
    found = []
    for top in TOPS:
        for path in (ROOT / top).rglob("*.py"):
            place = path.relative_to(ROOT)
            if "__pycache__" not in place.parts and not _linked(place):
                found.append(path)
    return sorted(set(found))


def _linked(place: Path) -> bool:
    """Whether a place in the repository is seen through `capfilt/models` or `capfilt/pipelines`, which are links."""
    return place.parts[0] == "capfilt" and place.parts[1] in ("models", "pipelines")


def module_of(path: Path) -> str:
    """The dotted name a file is imported by: `models/med/model.py` is `capfilt.models.med.model`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] != "capfilt":
        parts.insert(0, "capfilt")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports, `from a import b` as `a.b`; TYPE_CHECKING blocks and functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_graph(depth: int = 9) -> Graph:
    """Arrows between folders; folders deeper than `depth` below `capfilt` count as part of the folder above."""
    packages = {module_of(path) for path in product_files() if path.name == "__init__.py"}
    modules = {module_of(path) for path in product_files()}
    graph: Graph = defaultdict(set)
    for path in product_files():
        here = _room(module_of(path), packages, depth)
        graph[here]
        for name in imported_names(path):
            module = name if name in modules else name.rpartition(".")[0]
            if module in modules and (there := _room(module, packages, depth)) != here:
                graph[here].add(there)
    return dict(graph)


def module_graph() -> Graph:
    """Arrows between files."""
    modules = {module_of(path) for path in product_files()}
    graph: Graph = {}
    for path in product_files():
        names = set(imported_names(path))
        found = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module_of(path)] = (found & modules) - {module_of(path)}
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Groups of rooms that can reach each other (Tarjan's strongly connected components of two or more)."""
    numbers: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        numbers[node] = low[node] = len(numbers)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in numbers:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], numbers[other])
        if low[node] == numbers[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return found


def files_by_folder() -> Counter[str]:
    """How many files lie flat in each folder of the repository, `__init__.py` and `.nav.yml` not counted.

    `tests/fixtures/` holds inputs, not files that are read by people.
    """
    found: Counter[str] = Counter()
    for top in (*TOPS, "tests", "docs", "docker"):
        for path in (ROOT / top).rglob("*"):
            place = path.relative_to(ROOT)
            hidden = {"__pycache__", "fixtures"} & set(place.parts) or path.name in ("__init__.py", ".nav.yml")
            if path.is_file() and not hidden and not _linked(place):
                found[str(place.parent)] += 1
    return found


def repeated_classes() -> dict[str, list[str]]:
    """Public class names that stand in two or more modules."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in product_files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(ROOT)))
    return {name: places for name, places in sorted(found.items()) if len(places) > 1}


def comment_share(paths: Iterable[Path]) -> tuple[int, int]:
    """Lines that hold a comment, and all lines."""
    comments = lines = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments += sum(1 for token in tokens if token.type == tokenize.COMMENT)
    return comments, lines


def arrows(graph: Graph) -> int:
    return sum(len(targets) for targets in graph.values())


def _room(module: str, packages: set[str], depth: int) -> str:
    folder = module if module in packages else module.rpartition(".")[0]
    return ".".join(folder.split(".")[: depth + 1])


def main() -> None:
    for depth, title in ((1, "rooms at the top"), (2, "rooms two deep"), (9, "all rooms")):
        graph = room_graph(depth)
        print(f"{title}: {len(graph)}, arrows {arrows(graph)}, circles {len(circles(graph))}")
        for circle in circles(graph):
            print("  circle:", " <-> ".join(circle))
    print("circles of files:", circles(module_graph()) or "none")
    print("most files in a folder:", ", ".join(f"{name} {count}" for name, count in files_by_folder().most_common(5)))
    repeated = repeated_classes()
    print(f"class names that stand twice: {len(repeated)}", ", ".join(repeated))
    comments, lines = comment_share(product_files())
    print(f"files {len(product_files())}, lines {lines}, lines with a comment {comments} ({comments / lines:.1%})")
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    print(f"README: {words} words")


if __name__ == "__main__":
    sys.exit(main())
