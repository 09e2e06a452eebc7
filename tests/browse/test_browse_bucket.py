"""`capfilt browse` over a run in a bucket."""

import io
from collections.abc import Callable

from PIL import Image

from capfilt.browse.filters import TextFilter
from capfilt.browse.session import BrowseSession
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.marks import read_labels


def test_look_mark_and_select_in_a_bucket(bucket: str, make_run: Callable[..., Ledger]) -> None:
    run = make_run(f"{bucket}/out")
    session = BrowseSession(run)
    page = session.index.page(TextFilter(q="number 15"), 0)
    assert [image["uid"] for image in page["images"]] == [session.index.spot(14).uid]
    with Image.open(io.BytesIO(session.picture(14, 320))) as drawn:
        assert drawn.size == (320, 192)
    session.mark(page["images"][0]["uid"], 0, False)
    made = session.select("strict", "itm", 0.8)
    assert read_labels(run.folder)["label"].to_pylist() == [False]
    assert run.selection("strict")["result"]["kept"] == made["kept"]
