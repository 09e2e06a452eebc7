"""The mix of all judges' scores: against scikit-learn, in a selection, and where there is none."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from calibration_world import World
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ConfigError
from capfilt.core.storage import Folder
from capfilt.pipelines.calibration.calibrate import calibrate, read_calibration
from capfilt.pipelines.calibration.curves import Floats
from capfilt.pipelines.calibration.mix import fit_mix
from capfilt.pipelines.selection.select import select
from command_line import invoke

NUMBERS = 400


def pairs(weak: float = 1.0, missing: bool = False) -> pa.Table:
    """Two judges that see different halves of what is right, and one that sees nothing."""
    rng = np.random.default_rng(5)
    right = rng.random(NUMBERS) < 0.5
    shade = np.where(right, 1, -1)[:, None] + 1.5 * rng.normal(size=(NUMBERS, 2))
    columns = {
        "uid": [f"{number // 2:032x}" for number in range(NUMBERS)],
        "positive": right,
        "itm": pa.array(1 / (1 + np.exp(-shade[:, 0])), pa.float32()),
        "clip": pa.array(weak * (0.25 + 0.02 * shade[:, 1]), pa.float32()),
        "noise": pa.array(rng.normal(size=NUMBERS), pa.float32()),
    }
    if missing:
        columns["noise"] = pa.array([None] * 10 + [0.5] * (NUMBERS - 10), pa.float32())
    return pa.table(columns)


def auc(scores: Floats, right: Floats) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(right, scores))


def test_it_tells_more_than_each_judge_on_images_that_it_has_not_seen() -> None:
    table = pairs()
    found = fit_mix(table, ["itm", "clip", "noise"])
    assert not isinstance(found, str)
    mix, unseen = found
    right = table["positive"].to_numpy(zero_copy_only=False)
    best = max(auc(table[name].to_numpy(), right) for name in ("itm", "clip"))
    assert auc(unseen, right) > best + 0.03
    assert abs(mix.effects["noise"]) < 0.3 < min(mix.effects["itm"], mix.effects["clip"])


def test_its_weights_are_of_the_scores_as_they_are() -> None:
    from sklearn.linear_model import LogisticRegression

    table = pairs()
    found = fit_mix(table, ["itm", "clip"])
    assert not isinstance(found, str)
    mix, _ = found
    scores = np.stack([table[name].to_numpy() for name in ("itm", "clip")], axis=1).astype(np.float64)
    scaled = (scores - scores.mean(0)) / scores.std(0)
    plain = LogisticRegression().fit(scaled, table["positive"].to_numpy(zero_copy_only=False))
    own = 1 / (1 + np.exp(-(mix.bias + scores @ np.array(list(mix.weights.values())))))
    assert own == pytest.approx(plain.predict_proba(scaled)[:, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("table", "columns", "why"),
    [
        (pairs(), ["itm"], "fewer than two judges"),
        (pairs(weak=0), ["itm", "clip"], "fewer than two judges"),
        (pairs(missing=True), ["itm", "noise"], "fewer than two judges"),
        (pairs()[:30], ["itm", "clip"], "fewer than 20 pairs"),
        (pairs(), ["itm", "mix"], "a judge of this run is named mix"),
    ],
    ids=["one", "constant", "of regions", "few", "named mix"],
)
def test_why_there_is_none_is_said(table: pa.Table, columns: list[str], why: str) -> None:
    found = fit_mix(table, columns)
    assert isinstance(found, str)
    assert why in found


@pytest.fixture(scope="module")
def out(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that run, to select in."""
    return Path(shutil.copytree(world.out, tmp_path_factory.mktemp("mixed") / "out"))


def test_a_selection_by_the_mix_keeps_what_its_formula_says(out: Path) -> None:
    folder = Folder.at(out)
    settings = SelectSettings(policy="mix", threshold=0.6)
    folder.delete("calibration/mix.json")
    with pytest.raises(ConfigError, match="there is no mix of scores yet: run `capfilt calibrate` first"):
        select(folder, settings)
    made = calibrate(folder, "", precision=0.9, images=100, seed=0)
    stored = read_calibration(folder)
    assert made.mix
    assert stored
    assert stored.mix
    weights = json.loads(folder.read("calibration/mix.json"))
    selection = select(folder, settings)
    rows = pq.read_table(out / "captions").to_pylist()

    def probability(row: dict[str, float]) -> float:
        return 1 / (1 + math.exp(-(weights["bias"] + sum(w * row[name] for name, w in weights["weights"].items()))))

    wanted = {(row["uid"], row["candidate"]): probability(row) >= 0.6 for row in rows}
    decided = {(d["uid"], d["candidate"]): d["keep"] for d in pq.read_table(out / "decisions").to_pylist()}
    assert decided == wanted
    assert 0 < sum(selection.kept.values()) < len(rows)


def test_any_policy_can_use_the_mix_as_a_score_and_a_new_fit_is_decided_anew(out: Path) -> None:
    folder = Folder.at(out)
    calibrate(folder, "", precision=0.9, images=100, seed=0)
    settings = SelectSettings(policy="quantile", judge="mix", fraction=0.5)
    select(folder, settings)
    before = folder.read("selection.toml")
    weights = json.loads(folder.read("calibration/mix.json"))
    weights["weights"] = {name: -weight for name, weight in weights["weights"].items()}
    folder.write("calibration/mix.json", json.dumps(weights).encode())
    select(folder, settings)
    assert folder.read("selection.toml") != before


def test_the_command_tells_the_weights(out: Path) -> None:
    result = invoke("calibrate", str(out), "--sample", "100")
    assert result.exit_code == 0, result.stderr
    assert "mix of" in result.output
    assert "--set select.policy=mix" in result.output
