"""Exports are read by those they are made for: datasets, webdataset, open_clip, and capfilt itself."""

import argparse
import gc
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from capfilt.core.config import InputSettings
from capfilt.core.errors import CapfiltError, ChangedError, InputError
from capfilt.pipelines.export.export import FORMATS, Exported, export
from capfilt.pipelines.forget.forget import forget
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.read import read
from command_line import invoke
from pictures import picture
from staged_run import MakeRun, Pair, Run, pairs, tree

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture(autouse=True)
def _quiet_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cache goes away with the test, and it draws no bars."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write(run: Run, to: Path, kind: str, **more: Any) -> Exported:
    """An export in small shards."""
    return export(run.ledger.folder, str(to), kind, FORMATS[kind](), **{"shard_rows": 6, **more})


def wanted(run: Run) -> dict[str, dict[str, Any]]:
    """What an export must hold, by uid: out of corpus/ and images/."""
    files = sorted((run.out / "corpus").glob("*.parquet"))
    rows = {row["uid"]: row for file in files for row in pq.read_table(file).to_pylist()}
    facts = {row["uid"]: row for row in run.table("images")}
    return {uid: row | {name: facts[uid][name] for name in ("url", "sha256")} for uid, row in rows.items()}


def texts_of(row: dict[str, Any]) -> list[str]:
    return [text["text"] for text in row["captions"]]


def test_parquet(run: Run, tmp_path: Path) -> None:
    import datasets

    done = write(run, tmp_path / "set", "parquet")
    rows, files = wanted(run), sorted(map(str, (tmp_path / "set/data").glob("*.parquet")))
    assert (done.images, done.texts, done.shards) == (
        len(rows),
        sum(len(texts_of(row)) for row in rows.values()),
        len(files),
    )
    assert done.shards > 2
    found = datasets.load_dataset("parquet", data_files=files, split="train")
    assert isinstance(found.features["image"], datasets.Image)
    assert {row["uid"] for row in found} == rows.keys()
    for row in found:
        expected = rows[row["uid"]]
        assert row["image"].size == (expected["width"], expected["height"])
        assert [text["text"] for text in row["captions"]] == texts_of(expected)
        assert (row["text"], row["url"], row["sha256"]) == (expected["text"], expected["url"], expected["sha256"])


@pytest.mark.parametrize("kind", FORMATS)
def test_the_card_leads_datasets_to_the_data(kind: str, make_run: MakeRun, tmp_path: Path) -> None:
    """Also where pictures are of several formats and a column begins without values."""
    import datasets

    rows = [Pair(f"http://a/{n}" if n > 6 else "", picture(n, format=("JPEG", "PNG", "WEBP")[n % 3]), (f"text {n}",))
            for n in range(9)]  # fmt: skip
    run = make_run(rows).finish()
    write(run, tmp_path / "set", kind)
    found = datasets.load_dataset(str(tmp_path / "set"), split="train")
    assert found.num_rows == len(wanted(run)) == 9


def test_hf_imagefolder(run: Run, tmp_path: Path) -> None:
    import datasets

    write(run, tmp_path / "set", "hf")
    rows = wanted(run)
    found = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "set/data"), split="train")
    assert {row["uid"] for row in found} == rows.keys()
    for row in found:
        expected = rows[row["uid"]]
        assert row["image"].size == (expected["width"], expected["height"])
        assert row["text"] == expected["text"]
        assert [text["text"] for text in row["captions"]] == texts_of(expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # webdataset leaves its files to be collected
@pytest.mark.parametrize("kind", ["webdataset", "open_clip"])
def test_webdataset(kind: str, run: Run, tmp_path: Path) -> None:
    import webdataset

    write(run, tmp_path / "set", kind)
    shards = sorted(map(str, (tmp_path / "set/data").glob("*.tar")))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    gc.collect()
    rows = wanted(run)
    assert {sample["__key__"] for sample in samples} == rows.keys()
    for sample in samples:
        expected, told = rows[sample["__key__"]], sample["json"]
        picture = next(sample[extension] for extension in ("jpg", "png") if extension in sample)
        assert picture.size == (expected["width"], expected["height"])
        assert sample["txt"] == told["caption"] == expected["text"]
        assert [text["text"] for text in told["captions"]] == texts_of(expected)
        for text, stored in zip(told["captions"], expected["captions"], strict=True):
            fixed = {"text", "source", "candidate", "box"}
            assert text["box"] == [0, 0, 1, 1]
            assert json.loads(text["scores"]) == pytest.approx({name: stored[name] for name in stored.keys() - fixed})
        assert (told["url"], told["sha256"]) == (expected["url"], expected["sha256"])


def trainer_arguments(shards: str, **more: Any) -> argparse.Namespace:
    """Those that `open_clip_train.data` looks at."""
    plain = {
        "train_data": shards, "val_data": None, "dataset_type": "webdataset", "train_num_samples": None,
        "val_num_samples": None, "dataset_resampled": False, "train_data_upsampling_factors": None, "seed": 0,
        "batch_size": 4, "workers": 0, "world_size": 1, "imagenet_val": None, "imagenet_v2": None,
    }  # fmt: skip
    return argparse.Namespace(**plain | more)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_open_clip_trains_on_it(make_run: MakeRun, tmp_path: Path) -> None:
    """The trainer's own readers: they find the size, and every picture whatever its format, with its text."""
    import open_clip
    from open_clip_train.data import get_data, get_dataset_size, get_wds_dataset

    odd = [
        Pair(f"http://a/{kind}", picture(90 + n, format=kind), (f"text {n}",), (0.9,))
        for n, kind in enumerate(["GIF", "WEBP", "BMP", "TIFF"])
    ]
    run = make_run([*pairs(9), *odd]).finish()
    write(run, tmp_path / "set", "open_clip")
    rows = wanted(run)
    names = sorted(path.name for path in (tmp_path / "set/data").glob("*.tar"))
    shards = f"{tmp_path}/set/data/{{{names[0][:5]}..{names[-1][:5]}}}.tar"
    assert get_dataset_size(shards) == (len(rows), len(names))

    tokenizer = open_clip.SimpleTokenizer()
    texts: list[str] = []

    def tokens(text: str) -> Any:
        texts.append(text)
        return tokenizer([text])

    def pixels(image: Image.Image) -> Any:
        import torch

        assert image.mode == "RGB"
        return torch.zeros(3, 4, 4)

    info = get_wds_dataset(trainer_arguments("", val_data=shards), pixels, is_train=False, tokenizer=tokens)
    batches = list(info.dataloader)
    assert sum(len(images) for images, _ in batches) == len(rows)
    assert sorted(texts) == sorted(row["text"] for row in rows.values())
    train = get_data(trainer_arguments(shards), (pixels, pixels), tokenizer=tokens)["train"]
    steps = list(train.dataloader)
    assert len(steps) == -(-len(rows) // 4)
    assert {(tuple(images.shape), tuple(tokens.shape)) for images, tokens in steps} == {((4, 3, 4, 4), (4, 77))}
    del info, train
    gc.collect()


@pytest.mark.parametrize(("kind", "pattern"), [("parquet", "*.parquet"), ("webdataset", "*.tar"), ("hf", "")])
def test_capfilt_reads_its_own_exports(kind: str, pattern: str, run: Run, tmp_path: Path) -> None:
    """Plain pictures keep their bytes, and every kept text comes along."""
    write(run, tmp_path / "set", kind)
    data = tmp_path / "set/data"
    sources = [str(path) for path in sorted(data.glob(pattern))] if pattern else [str(data)]
    plan = make_plan(sources, InputSettings())
    rows = [row for chunk in plan.chunks for row in read(chunk).to_pylist()]
    expected = wanted(run)
    assert len(rows) == len(expected)
    assert {row["reason"] for row in rows} == {None}
    assert sorted(row["texts"][0]["text"] for row in rows) == sorted(row["text"] for row in expected.values())
    if kind == "webdataset":  # there all pictures are of one format, and keys are uids
        by_row = [expected[row["source"].rpartition("#")[2]] for row in rows]
    else:
        by_picture = {row["image"]["bytes"]: row for row in expected.values()}
        by_row = [by_picture[row["image"]] for row in rows]
    assert [row["texts"][0]["text"] for row in rows] == [row["text"] for row in by_row]


def test_llava_plain(run: Run, tmp_path: Path) -> None:
    write(run, tmp_path / "set", "llava")
    rows, found = wanted(run), json.loads((tmp_path / "set/llava.json").read_bytes())
    assert {sample["id"] for sample in found} == rows.keys()
    for sample in found:
        human, gpt = sample["conversations"]
        assert (human["from"], human["value"], gpt["from"]) == ("human", "<image>", "gpt")
        assert gpt["value"] == rows[sample["id"]]["text"]
        data = (tmp_path / "set/images" / sample["image"]).read_bytes()
        assert data == rows[sample["id"]]["image"]["bytes"]


class Stop(Exception):
    """The power went."""


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_bytes_whatever_happens(kind: str, run: Run, tmp_path: Path) -> None:
    def stop(done: int, shards: int) -> None:
        if done == 2:
            raise Stop

    assert write(run, tmp_path / "a/set", kind).fresh
    with pytest.raises(Stop):
        write(run, tmp_path / "b/set", kind, on_shard=stop)
    assert "README.md" not in tree(tmp_path / "b/set")
    assert write(run, tmp_path / "b/set", kind).fresh
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    assert not write(run, tmp_path / "a/set", kind).fresh
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")} == before


@pytest.mark.slow
def test_another_selection_is_another_export(run: Run, tmp_path: Path) -> None:
    import datasets

    folder, strict = run.ledger.folder, run.recipe.select.model_copy(update={"threshold": 0.85})
    select(folder, strict, name="strict")
    select(folder, run.recipe.select)
    write(run, tmp_path / "all", "parquet")
    done = write(run, tmp_path / "strict", "parquet", selection="strict")
    found = datasets.load_dataset("parquet", data_dir=str(tmp_path / "strict/data"), split="train")
    assert (
        0
        < done.texts
        == sum(len(row["captions"]) for row in found)
        < sum(len(texts_of(row)) for row in wanted(run).values())
    )
    with pytest.raises(ChangedError, match="an export of another selection"):
        write(run, tmp_path / "all", "parquet", selection="strict")
    with pytest.raises(ChangedError, match="an export of another format"):
        write(run, tmp_path / "all", "webdataset")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(ChangedError, match="holds files that are not an export"):
        write(run, tmp_path / "full", "parquet")
    with pytest.raises(InputError, match=r"no selection 'other'; .*there are: strict"):
        write(run, tmp_path / "other", "parquet", selection="other")
    assert not (tmp_path / "other").exists()


def test_a_selection_must_be_of_all_chunks(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(pairs(14))
    chunks = run.plan()
    run.commit(chunks[0])
    with pytest.raises(InputError, match="no selection; create it"):
        write(run, tmp_path / "set", "parquet")
    select(run.ledger.folder, run.recipe.select)
    run.commit(chunks[1])
    with pytest.raises(InputError, match="does not match the committed chunks"):
        write(run, tmp_path / "set", "parquet")
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
def test_what_is_forgotten_goes_out_no_more(run: Run, tmp_path: Path) -> None:
    write(run, tmp_path / "before", "webdataset")
    uid = next(iter(wanted(run)))
    assert [use.name for use in forget(run.ledger.folder, [("uid", uid)]).used_by][1:] == [
        f"export {tmp_path / 'before'} (webdataset)"
    ]
    with pytest.raises(ChangedError):
        write(run, tmp_path / "before", "webdataset")
    write(run, tmp_path / "after", "webdataset")
    keys = {name.partition(".")[0] for shard in (tmp_path / "after/data").glob("*.tar") for name, _ in members(shard)}
    assert keys == wanted(run).keys()
    assert uid not in keys
    assert (run.out / "exports").is_dir()
    assert uid.encode() not in b"".join(path.read_bytes() for path in run.out.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["webdataset", "open_clip"])
def test_a_score_that_is_no_number(kind: str, make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "all.sql").write_text(
        "SELECT uid, candidate, true AS keep, row_number() OVER (PARTITION BY uid ORDER BY candidate) AS rank,"
        " 'all' AS reason FROM captions"
    )
    rows = [Pair("http://a/0", picture(0), ("a \u2028 \x85 text",), (float("nan"), float("inf")))]
    run = make_run(rows, "out", f"select.policy={tmp_path / 'all.sql'}").finish()
    write(run, tmp_path / "set", kind)
    told = next(data for name, data in members(tmp_path / "set/data/00000.tar") if name.endswith(".json"))
    assert [json.loads(text["scores"])["itm"] for text in json.loads(told)["captions"]] == [None, None]


def test_the_card(run: Run, tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    write(run, tmp_path / "my set", "parquet")
    text = (tmp_path / "my set/README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["pretty_name"] == "my set"
    assert head["size_categories"] == ["n<1K"]
    card = DatasetCard.load(tmp_path / "my set/README.md")
    assert card.data.to_dict()["tags"] == ["capfilt", "image-text-pairs"]
    kept = run.ledger.selection()["result"]["kept"]
    for source, count in kept.items():
        assert f"| {source} | {count} |" in text
    assert "| not_an_image | 2 |" in text
    assert str(tmp_path) not in text  # it goes out into the world
    assert str(tmp_path) not in (tmp_path / "my set/export.json").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_croissant(kind: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid for mlcroissant, which finds every record by it."""
    import mlcroissant
    from etils import epath
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(extract, "EXTRACT_PATH", epath.Path(tmp_path / "cache"))  # else it knows archives by name alone
    write(run, tmp_path / "set", kind)
    found = mlcroissant.Dataset(jsonld=str(tmp_path / "set/croissant.json"))
    assert not found.metadata.ctx.issues.errors
    expected = wanted(run)
    records = [{key.partition("/")[2]: value for key, value in record.items()} for record in found.records("pairs")]
    assert {record["uid"].decode(): record["text"].decode() for record in records} == {
        uid: row["text"] for uid, row in expected.items()
    }
    if kind == "parquet":
        for record in records:
            row = expected[record["uid"].decode()]
            assert (record["width"], record["image"].size) == (row["width"], (row["width"], row["height"]))


@pytest.mark.slow
def test_the_command(run: Run, tmp_path: Path) -> None:
    arguments = ["export", str(run.out), "--to", str(tmp_path / "set"), "--format", "webdataset"]
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert f"{len(wanted(run))} images" in done.output
    assert "nothing to do" in invoke(*arguments).output
    assert invoke(*arguments[:-1], "hf").exit_code == 2
    assert invoke(*arguments, "--instruct", "detail").exit_code == 2
    assert invoke(*arguments, "--name", "../../etc").exit_code == 2


def members(shard: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(shard) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert isinstance(stream, io.BufferedReader)
            yield member.name, stream.read()


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ('{"capfilt": "0.0.1", "whole": true}', "holds an export of another capfilt"),
        ('{"whole": true}', "holds an export of another capfilt"),
        ('{"whole"', "export.json is damaged"),
        ("[1]", "export.json is damaged"),
        ("", "export.json is damaged"),
    ],
)
def test_a_manifest_of_another_version_or_a_damaged_one_is_a_line(
    manifest: str, words: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/export.json").write_text(manifest)
    with pytest.raises(CapfiltError, match=words):
        write(run, tmp_path / "set", "parquet")
