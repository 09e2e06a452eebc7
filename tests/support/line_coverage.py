"""Lines that tests ran, by room, and the least there may be: `python tests/support/line_coverage.py FILE LEAST`.

FILE is what `slipcover --json` wrote. A file of models/ or pipelines/ may stand there twice, the second time by the
link in the package: its lines are counted once.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(file: str, least: float) -> int:
    ran: defaultdict[Path, set[int]] = defaultdict(set)
    known: defaultdict[Path, set[int]] = defaultdict(set)
    for name, lines in json.loads(Path(file).read_text())["files"].items():
        path = (ROOT / name).resolve().relative_to(ROOT)
        ran[path] |= set(lines["executed_lines"])
        known[path] |= {*lines["executed_lines"], *lines["missing_lines"]}
    counts: Counter[tuple[str, bool]] = Counter()
    for path in known:
        for room in ("/".join(path.parts[:-1][:2]), "all"):
            counts[room, True] += len(ran[path])
            counts[room, False] += len(known[path])
    for room in sorted({room for room, _ in counts}, key=lambda room: (room == "all", room)):
        print(f"{room:<26} {counts[room, False]:>6} lines {counts[room, True] / max(counts[room, False], 1):>6.1%} run")
    if (share := 100 * counts["all", True] / counts["all", False]) < least:
        print(f"error: tests ran {share:.1f} % of the lines, fewer than {least} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
