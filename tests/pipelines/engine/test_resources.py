"""Whether a cluster can hold a plan: arithmetic, without Ray."""

import pytest

from capfilt.core.errors import ConfigError
from capfilt.pipelines.engine.resources import Pool, fetchers, missing, options, pools, tasks, total
from capfilt.pipelines.recipes.load import load_recipe

SMALL = {"CPU": 2.0, "memory": 4e9, "node:127.0.0.1": 1.0}
GPU = {"CPU": 8.0, "GPU": 1.0, "accelerator_type:A100": 1.0}


def lack(nodes: list[dict[str, float]], *settings: str, chunks: int = 100) -> str:
    recipe = load_recipe("blip", settings)
    found = pools(recipe, chunks, any(node.get("GPU") for node in nodes))
    return missing(nodes, found, tasks(recipe.engine))


@pytest.mark.parametrize(
    ("nodes", "settings"),
    [
        ([SMALL], ()),
        ([{"CPU": 0.0}, SMALL, SMALL], ("engine.workers=2",)),
        ([SMALL], ("engine.workers=100", "engine.min_workers=2")),
        ([GPU, GPU], ("engine.workers=2",)),
        ([GPU], ("engine.workers=2", "engine.gpus=0.5")),
        ([GPU], ("engine.workers=2", "engine.split=true", "engine.resources={caption={GPU=0.3}, score={GPU=0.2}}")),
        ([SMALL | {"net": 1.0}], ("engine.resources={fetch={net=0.5}}",)),
        ([SMALL], ("engine.resources={caption={CPU=1}}",)),
    ],
)
def test_what_fits_lacks_nothing(nodes: list[dict[str, float]], settings: tuple[str, ...]) -> None:
    assert lack(nodes, *settings) == ""


@pytest.mark.parametrize(
    ("nodes", "settings", "said"),
    [
        (
            [GPU, GPU],
            ("engine.workers=3",),
            "engine.workers = 3: {CPU: 0.5, GPU: 1} for each caption + score actor, room for 2; "
            "missing {CPU: 0.5, GPU: 1}; the cluster is 2 x {CPU: 8, GPU: 1}",
        ),
        ([SMALL], ("engine.gpus=1",), "room for 0; missing {CPU: 0.5, GPU: 1}; the cluster is 1 x {CPU: 2}"),
        ([SMALL], ("engine.workers=3",), "no room for decode beside the model actors: missing {CPU: 1} on one node"),
        ([GPU], ("engine.workers=2", "engine.split=true", "engine.gpus=0.5"), "engine.judge_workers = 2"),
        ([SMALL, SMALL], ("engine.resources={fetch={net=1}}",), "no room for fetch beside the model actors"),
        ([{"CPU": 1.0}] * 8, ("engine.resources={caption={CPU=2}}",), "room for 0; missing {CPU: 2}"),
        ([], (), "the cluster is empty"),
    ],
)
def test_what_does_not_fit_is_told(nodes: list[dict[str, float]], settings: tuple[str, ...], said: str) -> None:
    assert said in lack(nodes, *settings)


def test_a_short_run_asks_for_no_more_actors_than_it_has_chunks() -> None:
    assert lack([GPU], "engine.workers=64", chunks=1) == ""


def test_split_models_have_pools_of_their_own() -> None:
    recipe = load_recipe("blip", ("engine.workers=4", "engine.split=true", "engine.judge_workers=2"))
    assert pools(recipe, 100, True) == [
        Pool(("caption",), "engine.workers", 4, 4, {"CPU": 0.5, "GPU": 1.0}),
        Pool(("score",), "engine.judge_workers", 2, 2, {"CPU": 0.5, "GPU": 1.0}),
    ]
    assert total(pools(recipe, 100, True), tasks(recipe.engine)) == {"CPU": 4.0, "GPU": 6.0}
    alone = recipe.model_copy(update={"caption": recipe.caption.model_copy(update={"n": 0})})
    assert [pool.stages for pool in pools(alone, 100, False)] == [("caption", "score")]


def test_resources_reach_ray_by_its_own_names() -> None:
    assert options({"CPU": 2, "GPU": 0.5, "A100": 1, "memory": 8e9}) == {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "resources": {"A100": 1},
        "memory": 8e9,
    }


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("engine.resources={paint={CPU=1}}", "engine.resources.paint"),
        ("engine.resources={fetch={CPU=-1}}", "greater than or equal to 0"),
        ("engine.min_workers=2", "is more than engine.workers = 1"),
        ("engine.ray={runtime_env={env_vars={AWS_SECRET_ACCESS_KEY='x'}}}", "would be stored in run.toml"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_recipe("blip", (setting,))


@pytest.mark.parametrize(
    ("address", "cores", "chunks", "most"),
    [("local", 2, 99, 4), ("local", 2, 3, 3), ("local", 64, 99, 64), ("auto", 2, 3, None)],
)
def test_one_machine_is_not_flooded_with_fetching_processes(
    address: str, cores: int, chunks: int, most: int | None
) -> None:
    assert fetchers(load_recipe("blip", (f"engine.address={address!r}",)).engine, cores, chunks) == most
