"""`capfilt.run` and what can be asked of a run."""

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

import capfilt
from capfilt.api.progress import notebook_listener
from capfilt.commands.progress import RunProgress


@pytest.mark.slow
def test_a_run_does_its_work_and_says_nothing(
    pairs: Path, changes: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = capfilt.run(pairs, tmp_path / "out", set=changes)
    assert capfd.readouterr() == ("", "")
    assert run.result
    assert (run.result.chunks_now, run.result.rows) == (3, 30)
    stand = run.status()
    assert (stand.images, stand.failures, stand.complete, stand.balanced) == (27, {"not_an_image": 3}, True, True)
    again = capfilt.run([str(pairs)], str(tmp_path / "out"), set=changes)
    assert again.result
    assert again.result.chunks_now == 0


@pytest.mark.slow
def test_progress_is_a_function_or_lines_or_nothing(
    pairs: Path, changes: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[RunProgress] = []
    capfilt.run(pairs, tmp_path / "a", set=changes, limit=10, progress=heard.append)
    assert [progress.phase for progress in heard] == ["plan", "planned", "start", "work", "select", "done"]
    assert capfd.readouterr().out == ""
    capfilt.run(pairs, tmp_path / "b", set=changes, limit=10, progress=True)
    assert "planning" in capfd.readouterr().out


def test_progress_in_a_notebook_is_one_bar_that_moves() -> None:
    drawn: list[str] = []

    class Handle:
        def update(self, what: Any) -> None:
            drawn.append(what._repr_html_())

    def display(what: Any, display_id: bool) -> Handle:
        assert display_id
        drawn.append(what._repr_html_())
        return Handle()

    listen = notebook_listener(display)
    for progress in (RunProgress("plan"), RunProgress("work", 5, 30, 1, 6), RunProgress("done")):
        listen(progress)
    assert [text.split("</progress>")[0] for text in drawn] == [
        "<progress>",
        '<progress value="5" max="30">',
        '<progress value="1" max="1">',
    ]
    assert "5/30 rows" in drawn[1]


def test_it_runs_where_an_event_loop_is_running(
    pairs: Path, changes: dict[str, Any], tmp_path: Path, served: str
) -> None:
    """As in a notebook, whose cells run inside of one; fetching has an event loop of its own."""
    urls = tmp_path / "urls.csv"
    urls.write_text(f"url,text\n{served}/0.jpg,a red circle\n{served}/none.jpg,a star\n")

    async def cell() -> capfilt.Run:
        more = {"fetch.allow_private": ["127.0.0.0/8"], "fetch.ports": [int(served.rpartition(":")[2])]}
        return capfilt.run(urls, tmp_path / "out", set={**changes, **more})

    stand = asyncio.run(cell()).status()
    assert (stand.images, stand.failures) == (1, {"http_404": 1})


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"set": {"caption.m": 1}}, capfilt.ConfigError, r"caption\.m"),
        ({"set": {"caption": 1}}, capfilt.ConfigError, "expected 'section.key'"),
        ({"set": {"caption.n": -1}}, capfilt.ConfigError, r"caption\.n"),
        ({"recipe": "blop"}, capfilt.ConfigError, "recipe 'blop' is not known"),
        ({"inputs": "nowhere.parquet"}, capfilt.InputError, "nowhere.parquet"),
    ],
)
def test_mistakes_are_one_line_before_any_work(
    wrong: dict[str, Any], error: type[Exception], said: str, pairs: Path, changes: dict[str, Any], tmp_path: Path
) -> None:
    given = {"inputs": pairs, "out": tmp_path / "out", **wrong, "set": {**changes, **wrong.get("set", {})}}
    with pytest.raises(error, match=said) as caught:
        capfilt.run(given.pop("inputs"), given.pop("out"), **given)
    assert isinstance(caught.value, capfilt.CapfiltError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_that_is_there_can_be_opened_and_another_cannot(made: capfilt.Run, tmp_path: Path) -> None:
    opened = pickle.loads(pickle.dumps(capfilt.open(made.out)))
    assert opened.status() == made.status()
    assert opened.result is None
    with pytest.raises(capfilt.InputError, match="no run here"):
        capfilt.open(tmp_path)


def test_tables_are_relations(made: capfilt.Run) -> None:
    captions = made.captions()
    assert captions.aggregate("source, count(*) AS n").order("source").fetchall() == [("synthetic", 54), ("web", 27)]
    frame = made.captions().filter("itm > 0.5").df()
    assert set(frame.columns) >= {"uid", "candidate", "text", "itm", "itc"}
    assert made.table("failures").to_arrow_table()["reason"].to_pylist() == ["not_an_image"] * 3
    with pytest.raises(capfilt.ConfigError, match="table 'caption' is not known; there are: images, captions"):
        made.table("caption")


@pytest.mark.slow
def test_a_selection_is_made_anew_from_stored_scores(pairs: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    run = capfilt.run(pairs, tmp_path / "out", set=changes)
    everything = run.select(policy="all")
    assert run.select(policy="blip", threshold=0.0, dry_run=True).images == everything.images
    strict = run.select(policy="blip", threshold=0.999, name="strict")
    assert strict.images < everything.images
    assert run.select(policy="all") == everything
    assert run.select(name="strict") == strict
    for wrong, said in (({"treshold": 0.5}, r"select\.treshold"), ({"policy": "none"}, r"select\.policy")):
        with pytest.raises(capfilt.ConfigError, match=said):
            run.select(**wrong)


def test_what_is_kept_is_exported(made: capfilt.Run, tmp_path: Path) -> None:
    done = made.export(tmp_path / "there", format="webdataset")
    assert (done.images, done.fresh) == (27, True)
    assert not made.export(tmp_path / "there", format="webdataset").fresh
    assert list((tmp_path / "there").rglob("*.tar"))
    with pytest.raises(capfilt.ConfigError, match="format 'tar' is not known; there are: parquet, webdataset"):
        made.export(tmp_path / "other", format="tar")


def test_a_notebook_sees_counts_shares_and_three_examples(made: capfilt.Run) -> None:
    page = made._repr_html_()
    assert page.count("<img") == 3
    assert "data:image/jpeg;base64," in page
    assert "<td>30 of 30</td>" in page
    assert "27 of 27 (100.0 %)" in page
    assert "<script" not in page
    assert repr(made) == f"<capfilt run {made.out}>"


def test_hostile_texts_are_shown_and_do_nothing(made: capfilt.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capfilt.api.html.EXAMPLES", 27)
    page = made._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "\x1b" not in page


def test_an_unfinished_run_is_shown_too(pairs: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    def stop(progress: RunProgress) -> None:
        if progress.chunks_done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capfilt.run(pairs, tmp_path / "out", set=changes, progress=stop)
    page = capfilt.open(tmp_path / "out")._repr_html_()
    assert "<td>1 of 3</td>" in page
    assert "<img" not in page
