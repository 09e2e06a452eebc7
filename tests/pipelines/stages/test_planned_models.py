"""A model's files may change between the plan and the worker that loads them: it is noticed before a row is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.errors import ModelError
from capfilt.pipelines.engine.chunk.stages import Job, make_stages
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.stage_models import check_models
from pictures import picture


@pytest.mark.parametrize(
    ("stage", "setting"), [("caption", "caption.captioner={!r}"), ("score", "score.judges=[{!r}]")]
)
def test_a_model_that_changed_since_the_plan_is_refused(
    stage: str, setting: str, checkpoint: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    other = "score.judges=[]" if stage == "caption" else "caption.n=0"
    recipe = load_recipe("demo", (setting.format(str(folder)), other))
    planned = check_models(recipe)
    assert make_stages((stage,), Job("out", recipe, (), planned))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"name": "another"}))
    with pytest.raises(ModelError, match=f"{folder}: weights changed since the run was planned"):
        make_stages((stage,), Job("out", recipe, (), planned))


def test_examples_that_changed_since_the_plan_are_refused(published: Callable[[str], Path], tmp_path: Path) -> None:
    file = tmp_path / "shots.parquet"
    pq.write_table(pa.table({"image": [picture(1)], "text": ["a wall"]}), file)
    captioner = f"caption.captioner={str(published('llava'))!r}"
    recipe = load_recipe("blip", (captioner, f"caption.shots={str(file)!r}", "score.judges=[]", "select.policy=all"))
    planned = check_models(recipe)
    assert make_stages(("caption",), Job("out", recipe, (), planned))
    pq.write_table(pa.table({"image": [picture(1)], "text": ["a door"]}), file)
    with pytest.raises(ModelError, match=r"caption\.shots = .*: examples changed since the run was planned"):
        make_stages(("caption",), Job("out", recipe, (), planned))
