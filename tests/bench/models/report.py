"""The results as tables, for the terminal and for the README beside this file."""

from typing import Any, Final

FLOORS: Final = {
    "caption, n = 1": (1.2, 1.4),
    "caption, n = 10": (3.0, 7.0),
    "ITM of 11 texts": (2.0, 11.0),
    "chunk, recipe blip2": (2.5, 8.0),
}
"""What the project promises: times as fast as A and as B."""


def page(runs: list[dict[str, Any]]) -> str:
    """A section a run, the newest first."""
    newest = sorted(runs, key=lambda run: str(run["date"]), reverse=True)
    return "\n".join(f"## {run['date']}, {run['machine']}, `{run['command']}`\n\n{markdown(run)}" for run in newest)


def markdown(results: dict[str, Any]) -> str:
    """All tables."""
    parts = [
        f"{results['date']}, {results['machine']}, {results['versions']}. "
        f"Command: `{results['command']}`, at commit {results['commit']}"
        + (f". Left out, no time: {'; '.join(results['left_out'])}" if results["left_out"] else ""),
        _table(
            ["what", "size, dtype, batch", "ours, s an image", "A", "B", "A / ours", "B / ours", "at the limit: A, B"],
            [_speed(row) for row in results["speed"]],
        ),
        _table(
            ["stage", "size, dtype, batch", "s an image", "at the limit", "share of the limit"],
            [_stage(row) for row in results["stages"]],
        ),
        _table(["limit", "dtype", "measured"], [_limit(*item) for item in results["limits"].items()]),
        _table(
            ["process", "dtype", "peak", "own", "mapped", "on the device"], [_memory(row) for row in results["memory"]]
        ),
        _table(["parity with transformers, fp32", "largest difference"], [_parity(row) for row in results["parity"]]),
        _table(["bfloat16 against float32, ours", "agreement"], [[k, v] for k, v in results["agreement"].items()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _where(row: dict[str, Any]) -> str:
    return f"{row['size']}, {row['dtype']}, {row['batch']}"


def _speed(row: dict[str, Any]) -> list[str]:
    floors = FLOORS.get(row["floor"], (0.0, 0.0))
    cells = [row["what"], _where(row), *(_seconds(row[name]) for name in ("ours", "a", "b"))]
    for name, floor in zip(("a", "b"), floors, strict=True):
        ratio = row[name] / row["ours"] if row[name] else 0.0
        cells.append(f"{ratio:.2f}x (floor {floor:g}x)" if ratio and floor else f"{ratio:.2f}x" if ratio else "")
    least = row.get("least")
    return [*cells, f"{row['a'] / least:.2f}x, {row['b'] / least:.2f}x" if least else ""]


def _stage(row: dict[str, Any]) -> list[str]:
    least = row["least"]
    share = f"{100 * least / row['seconds']:.0f} %" if least else ""
    return [row["what"], _where(row), _seconds(row["seconds"]), _seconds(least), share]


def _seconds(value: float) -> str:
    """As many digits as say something, down to a hundredth of a millisecond."""
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}" if value >= 0.1 else f"{value:.5f}" if value else ""


def _limit(dtype: str, limits: dict[str, float]) -> list[str]:
    return ["matrix product; copy", dtype, f"{limits['flops'] / 1e9:.0f} GFLOP/s; {limits['bytes'] / 1e9:.1f} GB/s"]


def _memory(row: dict[str, Any]) -> list[str]:
    cells = [f"{row.get(name, 0) / 2**30:.2f} GiB" for name in ("peak", "own", "mapped", "device")]
    return [row["what"], row["dtype"], *cells]


def _parity(row: dict[str, Any]) -> list[str]:
    told = [f"{name} same" if value is True else f"{name} {value:.1e}" for name, value in row["far"].items()]
    return [row["what"], ", ".join(told)]
