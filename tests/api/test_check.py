"""`capfilt.check`: a look before the run, from Python, with models."""

from pathlib import Path
from typing import Any

import capfilt
from capfilt.core.schema import Reason


def test_a_sample_goes_through_the_models_of_the_recipe(pairs: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    found = capfilt.check(pairs, set=changes, sample=20, thumbnails=True)
    assert found.problem == ""
    assert found.report.survey.rows == 30
    sample, whole = found.report.sample, found.report.estimate
    assert sample is not None
    assert whole is not None
    assert sample.rows == 20
    assert sample.images + sum(one.rows for one in sample.failures) == 20
    assert {one.reason for one in sample.failures} == {Reason.NOT_AN_IMAGE}
    assert sample.selection.kept["synthetic"] <= 2 * sample.images
    assert sample.timing.seconds["caption"] > 0
    assert whole.rows == 30
    assert whole.processor == "CPU"
    html = found._repr_html_()
    assert "data:image/jpeg" in html
    assert "<script>alert" not in html
    found.write_page(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_a_look_loads_no_model(pairs: Path) -> None:
    found = capfilt.check([pairs], set={"caption.captioner": "no-such-model"}, progress=False)
    assert found.report.sample is None
    assert repr(found) == "<capfilt check: 30 rows>"
