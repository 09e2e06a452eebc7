"""A row that a model cannot take, in the two model stages: it fails, its neighbours do not notice."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from capfilt.core.config import CaptionSettings, DecodeSettings
from capfilt.core.schema import ROWS, make_uid
from capfilt.demo.world import jpeg, web_rows
from capfilt.models.captioners.med import MedCaptioner
from capfilt.models.formats.weights import load_med
from capfilt.models.judges.med import MedJudge
from capfilt.models.protocols import Caption as Written
from capfilt.models.protocols import Decoding
from capfilt.models.registry import registry
from capfilt.pipelines.stages.caption import caption
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.score import score

BAD = 3


class Picky:
    """Refuses any batch that holds one picture."""

    refused: torch.Tensor

    def refuse(self, images: torch.Tensor) -> None:
        if any(torch.equal(image, self.refused) for image in images):
            raise ValueError("cannot take this picture")


class PickyCaptioner(Picky, MedCaptioner):
    def caption(
        self, images: torch.Tensor, seeds: list[list[int]], prompt: str, decoding: Decoding
    ) -> list[list[Written]]:
        self.refuse(images)
        return super().caption(images, seeds, prompt, decoding)


class PickyJudge(Picky, MedJudge):
    def score(self, images: torch.Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        self.refuse(images)
        return super().score(images, texts)


@pytest.fixture(scope="module")
def rows(checkpoint: Path) -> pa.Table:
    scenes = [scene for scene, _ in web_rows(12, seed=3)]
    values = [
        {
            "uid": make_uid("list.csv", str(n), None),
            "source": f"list.csv#{n}",
            "texts": [{"text": "a red circle", "source": "web"}],
            "image": jpeg(scene, 64),
        }
        for n, scene in enumerate(scenes)
    ]
    return decode(pa.Table.from_pylist(values, ROWS), DecodeSettings(), [registry.pixels(str(checkpoint))])


def picture(rows: pa.Table, position: int) -> torch.Tensor:
    column = next(name for name in rows.column_names if name.startswith("pixels:"))
    side = round((len(rows[column][position].as_py()) / 3) ** 0.5)
    return torch.frombuffer(bytearray(rows[column][position].as_py()), dtype=torch.uint8).view(side, side, 3)


def test_in_the_caption_stage(rows: pa.Table, checkpoint: Path) -> None:
    captioner = PickyCaptioner("picky", "0", *load_med(checkpoint))
    captioner.refused = picture(rows, BAD)
    done = caption(rows, [captioner], CaptionSettings(n=2))
    reasons = done["reason"].to_pylist()
    assert reasons == [None if n != BAD else "poison" for n in range(12)]
    assert (done["stage"][BAD].as_py(), done["detail"][BAD].as_py()) == (
        "caption",
        "ValueError: cannot take this picture",
    )
    assert [len(own) for own in done["candidates"].to_pylist()] == [3 if n != BAD else 0 for n in range(12)]
    assert done["uid"].equals(rows["uid"])


def test_in_the_score_stage(rows: pa.Table, checkpoint: Path) -> None:
    judge = PickyJudge("picky", "0", *load_med(checkpoint), "enc")
    judge.refused = picture(rows, BAD)
    done = score(caption(rows, (), CaptionSettings(n=0)), [judge])
    assert done["reason"].to_pylist() == [None if n != BAD else "poison" for n in range(12)]
    assert done["stage"][BAD].as_py() == "score"
    scores = [[c["itm"] for c in own] for own in done["candidates"].to_pylist()]
    assert all(0 <= own[0] <= 1 for n, own in enumerate(scores) if n != BAD)
