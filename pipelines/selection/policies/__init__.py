"""The policies that ship, one SQL file each; `capfilt.pipelines.selection.policy` reads and runs them.

Imports nothing, because `capfilt select --help` lists the names.
"""

from pathlib import Path
from typing import Final

POLICIES: Final = Path(__file__).parent


def policy_names() -> list[str]:
    """Names of the policies that ship."""
    return sorted(path.stem for path in POLICIES.glob("*.sql"))
