"""A box stands around the same thing in the upright image as in the data, however the file stores its pixels."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from capfilt.core.config import CaptionSettings, DecodeSettings, OutputSettings
from capfilt.core.schema import ROWS
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.stages.caption import CANDIDATES, caption
from capfilt.pipelines.stages.decode import decode

SPEC = PixelSpec(32)
THING = (48, 16, 80, 32)
"""Left, top, right, bottom of the red thing in the stored image of 96 x 64 pixels."""


def stored(orientation: int) -> bytes:
    image = Image.new("RGB", (96, 64), "white")
    image.paste((255, 0, 0), THING)
    exif = Image.Exif()
    exif[0x0112] = orientation
    sink = io.BytesIO()
    image.save(sink, "PNG", exif=exif)
    return sink.getvalue()


def decoded(image: bytes, text: dict[str, object]) -> pa.Table:
    row = {"uid": "0" * 32, "source": "a#0", "texts": [{"text": "a thing", "source": "web"} | text], "image": image}
    return decode(pa.Table.from_pylist([row], ROWS), DecodeSettings(isolate=False), [SPEC])


@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
def test_a_box_of_the_stored_image_turns_with_it(orientation: int) -> None:
    rows = decoded(stored(orientation), {"box": THING, "frame": (96, 64)})
    ((text,),) = rows["texts"].to_pylist()
    assert text["frame"] is None
    left, top, right, bottom = (round(32 * side) for side in text["box"])
    pixels = np.frombuffer(rows[f"pixels:{SPEC.name}"][0].as_py(), np.uint8).reshape(32, 32, 3)
    red = pixels[..., 1] < 128
    inside = np.zeros((32, 32), bool)
    inside[top:bottom, left:right] = True
    assert (red & inside).sum() / (red | inside).sum() > 0.7


@pytest.mark.parametrize(
    ("box", "frame", "wanted"),
    [
        ((24, 16, 48, 32), None, [0.25, 0.25, 0.5, 0.5]),  # pixels of the image itself
        ((240, 160, 480, 320), (960, 640), [0.25, 0.25, 0.5, 0.5]),  # of a larger copy
        ((0.25, 0.25, 0.5, 0.5), (1, 1), [0.25, 0.25, 0.5, 0.5]),
        ((-24, 16, 48, 640), None, [0.0, 0.25, 0.5, 1.0]),  # cut at the borders
        ((200, 16, 300, 32), None, [1.0, 0.25, 1.0, 0.5]),  # outside: no area
        ((48, 16, 24, 32), None, [0.5, 0.25, 0.5, 0.5]),  # the wrong way round
        ((), (1, 1), [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_any_unit_becomes_shares_of_the_image(
    box: tuple[float, ...], frame: tuple[int, int] | None, wanted: list[float]
) -> None:
    rows = decoded(stored(1), {"box": box, "frame": frame})
    assert rows["texts"].to_pylist()[0][0]["box"] == pytest.approx(wanted)
    ((candidate,),) = caption(rows, [], CaptionSettings(n=0))[CANDIDATES].to_pylist()
    assert candidate["box"] == pytest.approx(wanted)
    has_area = wanted[2] > wanted[0] and wanted[3] > wanted[1]
    assert candidate["flags"] == ([] if has_area else ["empty_box"])


def test_a_box_of_the_upright_image_is_not_turned() -> None:
    rows = decoded(stored(6), {"box": (16, 48, 32, 80), "frame": (64, 96)})
    assert rows["texts"].to_pylist()[0][0]["box"] == pytest.approx([0.25, 0.5, 0.5, 80 / 96])


@pytest.mark.parametrize(("mode", "whole"), [("center_crop", (48, 32)), ("border", (32, 21)), ("keep_ratio", (48, 32))])
def test_an_image_with_boxes_is_stored_whole(mode: str, whole: tuple[int, int]) -> None:
    """Of a cut or padded one its boxes would show something else; images without boxes are stored as asked."""
    plain = {"text": "a thing", "source": "web"}
    texts = [[plain], [plain | {"box": THING, "frame": None}], [], [plain, plain | {"box": THING, "frame": None}]]
    rows = [
        {"uid": f"{number:032x}", "source": f"a#{number}", "texts": some, "image": stored(1)}
        for number, some in enumerate(texts)
    ]
    output = OutputSettings(pixels="resized", resize_mode=mode, image_size=32)
    table = pa.Table.from_pylist(rows, ROWS)
    found = decode(table, DecodeSettings(isolate=False), [SPEC], output=output)
    sizes = [Image.open(io.BytesIO(image)).size for image in found["image"].to_pylist()]
    asked = whole if mode == "keep_ratio" else (32, 32)
    assert sizes == [asked, whole, asked, whole]
    assert found["uid"].to_pylist() == table["uid"].to_pylist()
    as_it_came = decode(table, DecodeSettings(isolate=False), [SPEC])
    assert found.drop_columns(["image"]).equals(as_it_came.drop_columns(["image"]))
