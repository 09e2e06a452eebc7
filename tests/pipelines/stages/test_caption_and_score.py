"""The two model stages on plain tables, without Ray."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from capfilt.core.config import CaptionSettings, DecodeSettings
from capfilt.core.schema import ROWS, candidate_type, make_uid
from capfilt.demo.world import jpeg, web_rows
from capfilt.models.judges.tagged import tagged
from capfilt.models.pixels import Box, PixelSpec
from capfilt.models.protocols import RegionJudge
from capfilt.models.registry import registry
from capfilt.pipelines.stages.caption import CANDIDATES, caption, seed_of
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.micro_batches import MicroBatches
from capfilt.pipelines.stages.score import score

TEXTS = (["a red circle"], [], ["two stars", "two stars and a heart"], ["gone"], [" "], ["a ring"], ["x" * 9000])


@pytest.fixture(scope="module")
def rows(checkpoint: Path) -> pa.Table:
    """Seven rows, decoded; the fourth is no image."""
    scenes = [scene for scene, _ in web_rows(len(TEXTS), seed=3)]
    values = [
        {
            "uid": make_uid("list.csv", str(n), None),
            "source": f"list.csv#{n}",
            "texts": [{"text": text, "source": "web"} for text in texts],
            "image": b"no image" if n == 3 else jpeg(scene, 64),
        }
        for n, (scene, texts) in enumerate(zip(scenes, TEXTS, strict=True))
    ]
    return decode(pa.Table.from_pylist(values, ROWS), DecodeSettings(), [registry.pixels(str(checkpoint))])


@pytest.fixture(scope="module")
def captioned(rows: pa.Table, checkpoint: Path) -> pa.Table:
    return caption(rows, [registry.load_captioner(str(checkpoint))], CaptionSettings(n=3), [MicroBatches(4)])


def test_rows_stay_and_the_dead_get_no_candidates(rows: pa.Table, captioned: pa.Table) -> None:
    assert captioned.drop_columns(["candidates"]).equals(rows)
    assert captioned["candidates"].type == pa.list_(candidate_type(()))
    assert [len(row) for row in captioned["candidates"].to_pylist()] == [4, 3, 5, 0, 4, 4, 4]


def test_number_0_is_never_synthetic(captioned: pa.Table) -> None:
    numbered = [[(c["candidate"], c["source"]) for c in row] for row in captioned["candidates"].to_pylist()]
    assert numbered[0] == [(0, "web"), (1, "synthetic"), (2, "synthetic"), (3, "synthetic")]
    assert numbered[1] == [(1, "synthetic"), (2, "synthetic"), (3, "synthetic")]
    assert [n for n, _ in numbered[2]] == [0, 1, 2, 3, 4]


def test_every_caption_says_who_wrote_it_and_from_which_stream(
    rows: pa.Table, captioned: pa.Table, checkpoint: Path
) -> None:
    author = f"random@{registry.check(str(checkpoint), 'captioner')}"
    uid, own = rows["uid"][1].as_py(), captioned["candidates"].to_pylist()[1]
    assert {c["captioner"] for c in own} == {author}
    assert [c["seed"] for c in own] == [seed_of(uid, author, CaptionSettings(n=3), k) for k in range(3)]
    assert all(c["logprob"] < 0 for c in own)


@pytest.mark.slow
def test_a_second_captioner_writes_after_the_first_and_changes_nothing_of_it(
    rows: pa.Table, captioned: pa.Table, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "second").symlink_to(checkpoint)
    both = [registry.load_captioner(str(folder)) for folder in (checkpoint, tmp_path / "second")]
    together = caption(rows, both, CaptionSettings(n=3), [MicroBatches(4), MicroBatches(2)])["candidates"].to_pylist()
    for alone, row in zip(captioned["candidates"].to_pylist(), together, strict=True):
        assert row[: len(alone)] == alone
        more = row[len(alone) :]
        assert [c["candidate"] for c in more] == [alone[-1]["candidate"] + k for k in (1, 2, 3)] if alone else not more
        assert all(c["captioner"].startswith("second@") for c in more)


def test_captioners_are_named_once() -> None:
    assert CaptionSettings(captioner="a").captioners == ("a",)
    assert CaptionSettings(captioner=("a", "b")).captioners == ("a", "b")
    assert CaptionSettings(captioner=("a", "b"), n=0).captioners == ()
    for names in ((), ("a", "a"), ""):
        with pytest.raises(ValueError, match="must list at least one captioner, without duplicates"):
            CaptionSettings(captioner=names)


@pytest.mark.slow
def test_the_size_of_a_batch_changes_no_caption(rows: pa.Table, captioned: pa.Table, checkpoint: Path) -> None:
    captioner = registry.load_captioner(str(checkpoint))
    for batch in (1, 16):
        again = caption(rows, [captioner], CaptionSettings(n=3), [MicroBatches(batch)])["candidates"].to_pylist()
        texts = [[c["text"] for c in row] for row in again]
        assert texts == [[c["text"] for c in row] for row in captioned["candidates"].to_pylist()]


def test_another_round_is_another_stream(rows: pa.Table, captioned: pa.Table, checkpoint: Path) -> None:
    other = caption(rows, [registry.load_captioner(str(checkpoint))], CaptionSettings(n=3, round=1), [MicroBatches(4)])[
        "candidates"
    ].to_pylist()
    synthetic = [[c["text"] for c in row if c["source"] == "synthetic"] for row in other]
    before = [[c["text"] for c in row if c["source"] == "synthetic"] for row in captioned["candidates"].to_pylist()]
    assert synthetic != before


def test_judges_score_every_candidate_and_change_nothing_else(captioned: pa.Table, checkpoint: Path) -> None:
    scored = score(captioned, [registry.load_judge(str(checkpoint))], [MicroBatches(3)])
    assert scored["candidates"].type == pa.list_(candidate_type(("itm", "itc")))
    for before, after in zip(captioned["candidates"].to_pylist(), scored["candidates"].to_pylist(), strict=True):
        assert before == [{k: v for k, v in c.items() if k not in ("itm", "itc")} for c in after]
        assert all(0 <= c["itm"] <= 1 and -1.001 <= c["itc"] <= 1.001 for c in after)


def test_a_text_that_a_judge_has_not_read_to_its_end_is_flagged(captioned: pa.Table, checkpoint: Path) -> None:
    short, long = "a red circle", " ".join(["a red circle and a blue star"] * 6)
    given = captioned[CANDIDATES].to_pylist()
    row = next(number for number, own in enumerate(given) if own)
    given[row] = [{**given[row][0], "candidate": k, "text": text, "flags": []} for k, text in enumerate((short, long))]
    place = captioned.schema.get_field_index(CANDIDATES)
    table = captioned.set_column(place, CANDIDATES, pa.array(given, captioned.schema.field(place).type))
    judged = score(table, [registry.load_judge(str(checkpoint))])[CANDIDATES][row].as_py()
    assert [candidate["flags"] for candidate in judged] == [[], ["truncated"]]


def test_without_a_captioner_the_texts_that_came_are_judged(rows: pa.Table, checkpoint: Path) -> None:
    scored = score(caption(rows, (), CaptionSettings(n=0)), [registry.load_judge(str(checkpoint))])
    assert [len(row) for row in scored["candidates"].to_pylist()] == [
        len(t) if n != 3 else 0 for n, t in enumerate(TEXTS)
    ]


def test_two_judges_may_not_write_the_same_column(captioned: pa.Table, checkpoint: Path) -> None:
    judge = registry.load_judge(str(checkpoint))
    with pytest.raises(ValueError, match="same column"):
        score(captioned, [judge, judge])


class Areas:
    """A judge of regions that gives the width of what it is shown."""

    name, digest, columns, pixels = "areas", "0", ("area",), PixelSpec(16, "crop")

    def score(self, images: torch.Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        return {"area": [[2.0] * len(own) for own in texts]}

    def score_regions(
        self, images: torch.Tensor, texts: list[list[str]], boxes: list[list[Box | None]]
    ) -> dict[str, list[list[float]]]:
        return {"area": [[1.0 if box is None else box[2] - box[0] for box in own] for own in boxes]}


def test_a_region_that_a_judge_does_not_see_has_no_score() -> None:
    """A picture twice as wide as high, of which the judge sees the middle half."""
    boxes = [[0.0, 0.0, 0.2, 1.0], [0.0, 0.0, 0.5, 1.0], None]
    own = [
        {"candidate": k, "source": "web", "text": "a", "box": box, "round": 0, "flags": []}
        for k, box in enumerate(boxes)
    ]
    pixels = pa.array([b"\0" * 3 * 16 * 16], pa.binary(3 * 16 * 16))
    candidates = pa.array([own], pa.list_(candidate_type(())))
    rows = {"reason": pa.nulls(1, pa.string()), "width": [32], "height": [16], "pixels:crop-16": pixels}
    table = pa.table(rows | {CANDIDATES: candidates})
    (found,) = score(table, [Areas()])[CANDIDATES].to_pylist()
    assert [one["area"] for one in found] == [None, 0.5, 1.0]
    (found,) = score(table, [tagged(Areas(), ("area_b",))])[CANDIDATES].to_pylist()
    assert [one["area_b"] for one in found] == [None, 0.5, 1.0]


def test_a_tag_makes_no_judge_of_regions(checkpoint: Path) -> None:
    judge = registry.load_judge(f"b={checkpoint}")
    assert not isinstance(judge, RegionJudge)
