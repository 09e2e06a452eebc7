"""The harness stands beside the tests, and its captioner is named by module: both must be importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
