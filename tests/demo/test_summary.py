"""The demo's numbers, on a run whose every text and score is known."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, ConfigError, ModelError
from capfilt.demo.runner import NUMBERS, TRUTH, URLS, demo, url_list
from capfilt.demo.summary import TextCounts, summarize_demo
from capfilt.demo.truth import TRUTH as TRUTH_SCHEMA
from capfilt.demo.truth import truth_table
from capfilt.demo.world import WebRow, is_right
from capfilt.demo.world.site import Page, Trouble, pages
from capfilt.pipelines.recipes.load import load_recipe


@pytest.fixture(scope="module")
def site(rows: list[Any]) -> list[Page]:
    """Pages under the names of `rows`; what is true of the images stands in their right synthetic texts."""
    drawn = pages(30, 0)
    truths = [row.candidates[1].text if row.candidates else "" for row in rows]
    found = []
    for n, (row, truth, page) in enumerate(zip(rows, truths, drawn, strict=False)):
        truth = truth if truth not in ("", "a large") else page.row.truth
        text = row.candidates[0].text if row.candidates else "nobody knows"
        web = WebRow(f"{n}.jpg", text, truth, is_right(text, truth), "paraphrase")
        found.append(Page(web.name, page.scene, web, 96, Trouble.NONE if row.candidates else Trouble.GONE))
    return found


@pytest.fixture(scope="module")
def truth(finished: Path, site: list[Page]) -> pa.Table:
    return truth_table(finished, site)


def test_truth_has_a_row_for_every_input_row(truth: pa.Table, rows: list[Any]) -> None:
    assert truth.schema == TRUTH_SCHEMA
    assert truth["uid"].to_pylist() == [row.uid for row in rows]
    assert truth["web_right"].to_pylist() == [True] * 3 + [False] * 7


def test_account_counts_what_was_made(finished: Path, truth: pa.Table) -> None:
    account = summarize_demo(finished, truth)
    assert (account.rows, account.images, account.corpus) == (10, 7, 7)
    assert account.failures == {"http_404": 2, "opt_out": 1}
    # web: 3 right (2 kept), 4 wrong (the last one kept); synthetic: 5 right and 1 wrong kept, 1 wrong dropped
    assert account.web == TextCounts(total=7, kept=3, wrong=4, kept_wrong=1)
    assert account.synthetic == TextCounts(total=7, kept=6, wrong=2, kept_wrong=1)
    assert account.web.wrong_share == pytest.approx(4 / 7, abs=1e-4)
    assert account.web.kept_wrong_share == pytest.approx(1 / 3, abs=1e-4)
    assert account.web.right_kept_share == pytest.approx(2 / 3, abs=1e-4)
    assert account.wrong_before == account.web.wrong_share
    assert account.wrong_after == pytest.approx(2 / 9, abs=1e-4)
    assert json.loads(json.dumps(account.to_dict()))["web"]["dropped"] == 4


def test_shares_of_nothing_are_none() -> None:
    nothing = TextCounts(total=0, kept=0, wrong=0, kept_wrong=0)
    assert (nothing.wrong_share, nothing.kept_wrong_share, nothing.right_kept_share) == (None, None, None)


def test_names_of_the_files() -> None:
    assert (URLS, TRUTH, NUMBERS) == ("urls.tsv", "truth.parquet", "demo.json")


def test_too_few_images_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--images 3: .* at least 16"):
        demo(tmp_path / "out", 3, 0)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path, finished: Path, model: Recipe) -> None:
    mine = tmp_path / "urls.tsv"
    mine.write_text("url\ttext\nhttp://example.org/1.jpg\tmine\n")
    with pytest.raises(ChangedError, match="not a URL list of the demo"):
        demo(tmp_path, 60, 0, recipe=model)
    assert mine.read_text().endswith("mine\n")
    with pytest.raises(ChangedError, match="holds another run"):
        demo(finished, 60, 0, recipe=model)


def test_another_seed_or_size_in_the_same_folder_is_refused(tmp_path: Path, model: Recipe) -> None:
    (tmp_path / URLS).write_bytes(url_list(pages(60, 0), 8417))
    with pytest.raises(ChangedError, match="was made with --images 60, now 61"):
        demo(tmp_path, 61, 0, recipe=model)
    with pytest.raises(ChangedError, match="was made with another --seed"):
        demo(tmp_path, 60, 1, recipe=model)


def test_a_missing_model_is_told_before_anything_is_written(tmp_path: Path) -> None:
    recipe = load_recipe("demo", ("caption.n=0", f'score.judges=["{tmp_path / "none"}"]'))
    with pytest.raises(ModelError, match="none"):
        demo(tmp_path / "out", 60, 0, recipe=recipe)
    assert not (tmp_path / "out").exists()


def test_the_list_is_one_a_person_can_read(tmp_path: Path) -> None:
    lines = url_list(pages(60, 0), 8417).decode().splitlines()
    assert lines[0] == "url\ttext"
    assert len(lines) == 61
    assert all(line.startswith("http://127.0.0.1:8417/0000") and line.count("\t") == 1 for line in lines[1:])
