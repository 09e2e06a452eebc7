"""results.jsonl: a line on how the results were made, and one for every condition and seed."""

import json
from pathlib import Path
from typing import Any, Final

FREE: Final = ("date", "commit", "command", "machine")
"""What may differ between the parts of one experiment."""


class Book:
    """The results so far, in a file that grows by a line."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        own = {name: value for name, value in json.loads(json.dumps(about)).items() if name not in FREE}
        self.rows: list[dict[str, Any]] = [row for row in map(json.loads, lines) if own.items() <= row["made"].items()]

    def add(self, row: dict[str, Any]) -> None:
        """One more; it says itself how it was made."""
        self.rows.append(row | {"made": self.about})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
