"""The pages that are made from the code are current, and links from files outside docs/ lead somewhere."""

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = runpy.run_path(str(ROOT / "docs" / "scripts" / "reference.py"))
RESULTS = runpy.run_path(str(ROOT / "docs" / "scripts" / "does_it_help.py"))
PICTURE = runpy.run_path(str(ROOT / "docs" / "scripts" / "picture.py"))


@pytest.mark.parametrize("name", REFERENCE["PAGES"])
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == REFERENCE["page"](name), "run `make docs-reference`"


def test_every_command_setting_and_reason_has_a_line() -> None:
    from capfilt.cli import app
    from capfilt.core.config import Recipe
    from capfilt.core.schema import Reason

    pages = {name: (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") for name in REFERENCE["PAGES"]}
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"## capfilt {command.name or command.callback.__name__}\n" in pages["cli.md"]
    for section, values in Recipe().model_dump().items():
        for key in values if isinstance(values, dict) else ():
            assert f"| `{section}.{key}` |" in pages["settings/run.md"]
    for reason in Reason:
        assert f"| `{reason.value}` |" in pages["reasons.md"]


def test_the_picture_is_drawn_from_the_committed_results() -> None:
    results = json.loads(PICTURE["RESULTS"].read_text(encoding="utf-8"))
    assert PICTURE["PICTURE"].read_text(encoding="utf-8") == PICTURE["picture"](results), "run `make docs-picture`"
    assert PICTURE["README"].read_text(encoding="utf-8") == PICTURE["readme"](results), "run `make docs-picture`"


def test_a_difference_is_taken_seed_by_seed_with_its_interval() -> None:
    rows = [
        {"condition": name, "seed": seed, "tr@1": value}
        for name, own in (("both", {0: 0.31, 1: 0.52, 2: 0.43, 3: 0.9}), ("none", {2: 0.40, 0: 0.30, 1: 0.50}))
        for seed, value in own.items()
    ]
    # 1, 2 and 3 points: a mean of 2, and 4.3027 / sqrt(3) of a standard deviation of 1 on both sides.
    assert RESULTS["difference"](rows, "both", "none", "tr@1") == "+2.0 [-0.5, +4.5]"


def test_does_it_help_quotes_the_committed_results() -> None:
    assert RESULTS["PAGE"].read_text(encoding="utf-8") == RESULTS["page"](), "run `make docs-picture`"
    for file, chart in RESULTS["pictures"]().items():
        assert file.read_bytes() == chart, "run `make docs-picture`"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_of_the_files_at_the_root_lead_somewhere(name: str) -> None:
    """mkdocs checks the links inside docs/."""
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'(?:src|srcset|href)="([^"#]+)', text)
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not (ROOT / target).exists()]
