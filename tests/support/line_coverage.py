"""Lines that tests ran, by room, and the least there may be: `python tests/support/line_coverage.py FILE LEAST`.

FILE is what `slipcover --json` wrote. It names the files of models/ and pipelines/ twice: by the package's folders,
from where they are imported, and by the repository's, from where nothing is.
"""

import json
import sys
from collections import Counter
from pathlib import Path


def main(file: str, least: float) -> int:
    ran: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for name, lines in json.loads(Path(file).read_text())["files"].items():
        if name.startswith("capfilt/"):
            room = name.split("/")[1].removesuffix(".py")
            for place in (room, "all"):
                ran[place] += len(lines["executed_lines"])
                missed[place] += len(lines["missing_lines"])
    for room in sorted(ran, key=lambda room: (room == "all", room)):
        lines = ran[room] + missed[room]
        print(f"{room:<12} {lines:>6} lines {ran[room] / max(lines, 1):>6.1%} run")
    if (share := 100 * ran["all"] / max(ran["all"] + missed["all"], 1)) < least:
        print(f"error: tests ran {share:.1f} % of the lines, fewer than {least} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
