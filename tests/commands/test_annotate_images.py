"""`capfilt annotate --image-judge`: facts about images join a finished run, and selections decide by them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from capfilt.browse.filters import TextFilter
from capfilt.browse.index import Index
from capfilt.commands.annotate import annotate, drop
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ChangedError, ConfigError, ModelError
from capfilt.ledger.joined import images_schema
from capfilt.models.registry.registry import load_judge
from capfilt.pipelines.forget.forget import forget
from capfilt.pipelines.query import run_query
from capfilt.pipelines.selection.select import select
from command_line import invoke
from staged_run import Run, pairs, tree

HERE = ("engine.kind=local", "engine.threads=1")
LIGHT = "python:light_judge:LightJudge"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two chunks that knows its images."""
    run = Run.over(pairs(12), tmp_path_factory.mktemp("annotate-images")).finish()
    annotate(str(run.out), image_judges=["quality", LIGHT], overrides=HERE)
    return run


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Run:
    return whole.copy(tmp_path / "out")


def test_every_image_has_the_facts_and_no_file_of_the_run_changed(run: Run) -> None:
    before = tree(run.out)
    facts = run_query(run.ledger.folder, "SELECT light, vector, names, aspect, near_solid FROM images").to_pylist()
    assert len(facts) == len(pq.read_table(run.out / "images"))
    assert len({row["light"] for row in facts}) > 5
    assert all(row["names"] == (["light"] if row["light"] > 128 else ["dark"]) for row in facts)
    assert all(np.allclose(row["vector"], [row["light"] / 256, 0.5], atol=1e-3) for row in facts)
    assert {(row["aspect"], row["near_solid"]) for row in facts} == {(1.0, False)}
    assert [(one.name, one.subject, one.chunks_left) for one in run.status.layers] == [
        ("LightJudge", "images", 0),
        ("quality", "images", 0),
    ]
    assert annotate(str(run.out), image_judges=[LIGHT], overrides=HERE).chunks == 0
    assert {name: data for name, data in tree(run.out).items() if name != ".lock"} == {
        name: data for name, data in before.items() if name != ".lock"
    }
    kinds = {
        field.name: str(field.type) for field in pq.read_schema(next((run.out / "layers/LightJudge").glob("*.p*")))
    }
    assert kinds["vector"] == "fixed_size_list<element: halffloat>[2]"


def test_texts_are_kept_by_a_condition_over_images_and_scores(run: Run) -> None:
    light = sorted(run_query(run.ledger.folder, "SELECT light FROM images")["light"].to_pylist())[5]
    condition = f"images.light > {light} AND itm > 0.5 -- the lighter ones"
    select(run.ledger.folder, SelectSettings(policy="all", where=condition))
    reasons = "SELECT keep, reason, count(*) AS n FROM decisions GROUP BY ALL ORDER BY ALL"
    found = {(row["keep"], row["reason"]): row["n"] for row in run_query(run.ledger.folder, reasons).to_pylist()}
    kept = f"SELECT count(*) AS n FROM captions JOIN images USING (uid) WHERE light > {light} AND itm > 0.5"
    n = run_query(run.ledger.folder, kept)["n"][0].as_py()
    total = run_query(run.ledger.folder, "SELECT count(*) AS n FROM captions")["n"][0].as_py()
    assert 0 < n < total
    assert found == {(True, "all"): n, (False, "flag: where"): total - n}


def test_a_policy_reads_the_columns_of_images(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "light.sql"
    policy.write_text(
        "SELECT captions.uid, candidate, list_contains(names, 'light') AS keep,"
        " CASE WHEN keep THEN row_number() OVER (PARTITION BY captions.uid ORDER BY candidate) END AS rank,"
        " 'names' AS reason FROM captions JOIN images USING (uid)"
    )
    select(run.ledger.folder, SelectSettings(policy=str(policy)))
    kept = run_query(run.ledger.folder, "SELECT DISTINCT names FROM images JOIN decisions USING (uid) WHERE keep")
    assert kept["names"].to_pylist() == [["light"]]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("nothing > 1", "select.where = 'nothing > 1': .*nothing"),
        ("1) ; SELECT (1", "must be one condition"),
        ("source = 'web'", "select.where = .*mbiguous"),
    ],
)
def test_a_wrong_condition_is_told_in_one_line(run: Run, where: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        select(run.ledger.folder, SelectSettings(policy="all", where=where))
    assert "\n" not in str(error.value)


def test_features_become_tags_a_number_and_an_embedding(run: Run, tmp_path: Path) -> None:
    tags, head = tmp_path / "tags.toml", tmp_path / "head.safetensors"
    tags.write_text("[bus]\nprompts = ['a bus', 'a red bus']\nagainst = ['a dog']\n")
    save_file(
        {"0.weight": torch.ones(2, 64), "0.bias": torch.ones(2), "1.weight": torch.ones(1, 2), "1.bias": torch.ones(1)},
        head,
    )
    judges = [f"{kind}:demo-filter" for kind in ("tags", "head", "embedding")]
    more = (f"score.tags={tags}", f"score.head={head}")
    annotate(str(run.out), image_judges=judges, overrides=(*HERE, *more))

    told = run_query(run.ledger.folder, "SELECT bus, head, embedding FROM images").to_pylist()
    vectors = np.array([row["embedding"] for row in told])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)
    ones = run_query(run.ledger.folder, "SELECT array_inner_product(embedding, embedding) AS one FROM images")
    assert np.allclose(ones["one"].to_pylist(), 1, atol=1e-2)
    assert np.allclose([row["head"] for row in told], 2 * vectors.sum(1) + 3, atol=1e-2)
    with torch.inference_mode():
        one, two, other = load_judge("demo-filter").text_features(["a bus", "a red bus", "a dog"])
    direction = torch.nn.functional.normalize(one + two, dim=0) - other
    expected = torch.sigmoid(100 * torch.tensor(vectors).float() @ direction)
    assert np.allclose([row["bus"] for row in told], expected, atol=0.02)

    save_file({"weight": torch.ones(1, 63), "bias": torch.ones(1)}, head)
    with pytest.raises(ModelError, match="the head reads 63 numbers, the model's feature has 64"):
        annotate(str(run.out), image_judges=["other=head:demo-filter"], overrides=(*HERE, more[1]))
    assert not (run.out / "layers/other.toml").exists()
    tags.write_text("[bus]\nprompts = ['a bus']\nagainst = ['a cat']\n")
    with pytest.raises(ChangedError, match=r"layer tags: .*weights"):
        annotate(str(run.out), image_judges=judges[:1], overrides=(*HERE, *more))


def test_a_judge_of_texts_and_one_of_images_are_not_taken_for_each_other(run: Run) -> None:
    with pytest.raises(ConfigError, match="layer of that name about images"):
        annotate(str(run.out), ["python:word_judge:WordJudge"], name="quality")
    with pytest.raises(ModelError, match="cannot be an image judge: it has no describe"):
        annotate(str(run.out), image_judges=["python:word_judge:WordJudge"], overrides=HERE)


def test_what_is_forgotten_leaves_the_facts_too(run: Run) -> None:
    url = "http://example.org/albums/0003/photo.jpg"
    uid = next(row["uid"] for row in run.table("images") if row["url"] == url)
    forget(run.ledger.folder, [("url", url)])
    assert uid.encode() not in b"".join(tree(run.out).values())
    assert [one.chunks_left for one in run.status.layers] == [0, 0]


def test_the_page_shows_the_facts_and_decides_by_the_condition(run: Run) -> None:
    settings = SelectSettings(where="images.light > 128")
    index = Index(run.ledger, run.ledger.records(), settings)
    facts = index.image(0, TextFilter())["facts"]
    assert set(facts) == {"light", "names", "aspect", "border", "contrast", "entropy", "near_solid", "sharpness"}
    assert facts["aspect"] == 1
    left_out = index.query("SELECT count(*) FROM texts JOIN images USING (place) WHERE decidable <> (light > 128)")
    assert left_out[0][0].as_py() == 0


def test_a_dropped_layer_takes_its_columns_along(run: Run) -> None:
    drop(str(run.out), "quality")
    assert "sharpness" not in images_schema(run.ledger).names


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tags", "must name the judge whose features it uses: tags:MODEL"),
        ("beauty", "image judge 'beauty' is not one of: quality, tags:MODEL"),
        ("head:demo-filter", "score.head must name the file"),
        ("embedding:demo-captioner", "is not a filter"),
    ],
)
def test_a_mistake_in_a_name_is_one_line(whole: Run, name: str, told: str) -> None:
    with pytest.raises((ModelError, ConfigError), match=told):
        annotate(str(whole.out), image_judges=[name], overrides=HERE)


def test_the_command_says_what_to_look_at_next(run: Run) -> None:
    done = invoke("annotate", run.out, "--image-judge", f"own={LIGHT}", "--set", HERE[0], "--set", HERE[1])
    assert done.exit_code == 0, done.stderr
    assert "capfilt query" in done.output
    assert "SELECT url, light_own FROM images" in done.output
    assert "layer:    own (light_own, vector_own, names_own)" in invoke("status", run.out).output
