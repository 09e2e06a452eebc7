"""The recipes with models of other people: a whole run with random weights, and what is refused before one."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.commands.run import run
from capfilt.core.chunks import Chunk, Part
from capfilt.core.errors import ConfigError, ModelError
from capfilt.core.storage import Folder
from capfilt.ledger.session import read_sessions
from capfilt.models.registry.catalog import CATALOG
from capfilt.pipelines.engine.chunk.chunk_row import CHUNK_ROW, PlannedChunk, new_row, pack
from capfilt.pipelines.engine.chunk.stages import Job
from capfilt.pipelines.engine.engine import UNFIT
from capfilt.pipelines.engine.ray_engine import ModelActor
from capfilt.pipelines.query import run_query
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.stage_models import check_models

Published = Callable[[str], Path]

RECIPES = ("blip2", "laion-coco", "recaption")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_name_models_that_are_known(name: str) -> None:
    recipe = load_recipe(name)
    assert CATALOG[recipe.caption.captioner].role == "captioner"
    for judge in recipe.score.judges:
        assert CATALOG[judge.rpartition("=")[2]].role == "filter"


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_selects_by_its_judges_give(name: str) -> None:
    recipe = load_recipe(name)
    given = set()
    for judge in recipe.score.judges:
        tag, _, model = judge.rpartition("=")
        given |= {f"{column}_{tag}" if tag else column for column in CATALOG[model].columns}
    chosen = recipe.select
    asked = {"blip2": {chosen.first}, "laion-coco": {chosen.first, chosen.second}, "quantile": {chosen.judge}}
    assert asked[chosen.policy] <= given


def test_two_judges_of_one_column_are_refused_before_any_work(published: Published) -> None:
    judges = json.dumps([str(published("clip")), str(published("siglip"))])
    with pytest.raises(ConfigError, match=r"score\.judges.*both give the column 'clip'"):
        check_models(load_recipe("blip", (f"score.judges={judges}", "caption.n=0")))


def test_a_captioner_that_does_not_caption_is_refused_before_the_folder_is_made(
    published: Published, tmp_path: Path
) -> None:
    dai = f"caption.captioner={str(published('blip-dai-dai'))!r}"
    recipe = load_recipe("blip", (dai, "score.judges=[]", "select.policy=all"))
    pq.write_table(pa.table({"image": [b""]}), tmp_path / "pictures.parquet")
    with pytest.raises(ModelError, match="captioner 'blip-dai-dai' writes 'dai dai dai"):
        run([str(tmp_path / "pictures.parquet")], str(tmp_path / "out"), recipe)
    assert not (tmp_path / "out").exists()


def test_a_captioner_that_does_not_caption_is_an_error_of_every_chunk(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine's actor says when it cannot work, and what makes the engine stop."""
    dai = published("blip-dai-dai")
    recipe = load_recipe("blip", (f"caption.captioner={str(dai)!r}", "score.judges=[]", "engine.threads=1"))
    monkeypatch.setattr("torch.set_num_threads", (asked := []).append)  # this process computes on as many as before
    actor = ModelActor(Job("out", recipe, ()), None, 1, ("caption", "score"))
    chunk = Chunk("000000", (Part("lists", "x.csv", "x.csv", 0, 3, {}),))
    row = new_row(PlannedChunk(chunk, "d")) | {"payload": pack(pa.table({"uid": ["a"]})).to_pybytes()}
    after = actor(pa.Table.from_pylist([row], CHUNK_ROW)).to_pylist()[0]
    assert asked == [1]
    assert json.loads(after["memory"])["model"] > 2**26  # torch alone takes that
    found = UNFIT.match(after["error"])
    assert found
    assert found["why"].startswith("captioner 'blip-dai-dai' writes 'dai dai dai")


@pytest.mark.slow
def test_recipe_blip2_from_pictures_to_the_best_two_texts(published: Published, tmp_path: Path) -> None:
    rows = []
    for n in range(10):
        file = io.BytesIO()
        Image.linear_gradient("L").rotate(36 * n).resize((60 + n, 50)).convert("RGB").save(file, "JPEG")
        rows.append({"image": b"no image" if n == 4 else file.getvalue(), "text": f"picture number {n} of a row"})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pictures.parquet")
    judges = [str(published("blip-itm")), str(published("clip")), f"q={published('blip2-itm')}"]
    changes = (
        f"caption.captioner={str(published('blip'))!r}",
        f"score.judges={json.dumps(judges)}",
        "caption.max_tokens=8",
        "input.chunk_rows=5",
        "engine.kind='local'",
        "engine.threads=1",
    )
    recipe = load_recipe("blip2", changes)
    out = tmp_path / "out"
    outcome = run([str(tmp_path / "pictures.parquet")], str(out), recipe)
    assert (outcome.rows, outcome.chunks, outcome.selection.images) == (10, 2, 9)
    assert sum(outcome.selection.kept.values()) == 18
    assert outcome.memory["driver"] > 2**26
    assert read_sessions(Folder.at(out))[-1].memory == outcome.memory
    count = "SELECT count(*) AS n FROM captions WHERE {}"
    scored = "itm BETWEEN 0 AND 1 AND itc BETWEEN -1 AND 1 AND clip BETWEEN -1 AND 1 AND itm_q BETWEEN 0 AND 1"
    assert run_query(Folder.at(str(out)), count.format(scored)).to_pylist() == [{"n": 9 * 11}]
    best = (
        "SELECT count(*) AS n FROM (SELECT uid, max(clip) AS clip FROM captions GROUP BY uid)"
        " JOIN captions USING (uid, clip) JOIN decisions USING (uid, candidate) WHERE rank = 1"
    )
    assert run_query(Folder.at(str(out)), best).to_pylist() == [{"n": 9}]


def test_a_checkpoint_of_the_wrong_role_is_refused_before_the_folder_is_made(
    published: Published, tmp_path: Path
) -> None:
    recipe = load_recipe("blip2", (f"caption.captioner={str(published('blip-itm'))!r}", "score.judges=[]"))
    with pytest.raises(ModelError, match="is not a captioner; it is a filter"):
        run([str(tmp_path / "none.parquet")], str(tmp_path / "out"), recipe)
    assert not (tmp_path / "out").exists()
