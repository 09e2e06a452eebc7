"""`capfilt browse` over a run in a bucket."""

import io
from contextlib import closing
from typing import Any

from PIL import Image

from capfilt.browse.filters import Filter
from capfilt.browse.session import Desk
from capfilt.pipelines.calibration.marks import read_labels


def test_look_mark_and_select_in_a_bucket(bucket: str, make_run: Any) -> None:
    run = make_run(f"{bucket}/out")
    with closing(Desk(run)) as desk:
        page = desk.index.page(Filter(q="number 15"), 0)
        assert [image["uid"] for image in page["images"]] == [desk.index.spot(14).uid]
        with Image.open(io.BytesIO(desk.picture(14, 320))) as drawn:
            assert drawn.size == (320, 192)
        desk.mark(page["images"][0]["uid"], 0, False)
        made = desk.select("strict", "itm", 0.8)
    assert read_labels(run.folder)["label"].to_pylist() == [False]
    assert run.selection("strict")["result"]["kept"] == made["kept"]
