"""open_clip: webdataset as its trainer wants it, down to the images it knows and the file with the sizes."""

import io
from dataclasses import replace
from typing import Final

from PIL import Image

from capfilt.core.config import DecodeSettings
from capfilt.core.storage import Folder
from capfilt.pipelines.export.formats import DATA, to_json
from capfilt.pipelines.export.webdataset import WebdatasetFormat
from capfilt.pipelines.imaging.image_file import load_image, read_header
from capfilt.pipelines.imaging.pillow import pillow_rules

KNOWN: Final = ("jpg", "jpeg", "png", "webp")
"""The extensions that `open_clip_train.data` looks for; it leaves out every other sample in silence."""

_LIMITS: Final = DecodeSettings(max_pixels=1_000_000_000)  # these images were let in once already


class OpenClipFormat(WebdatasetFormat):
    """As `webdataset`, but an image of another kind than the trainer knows becomes a PNG, and data/sizes.json."""

    layout = replace(
        WebdatasetFormat.layout,
        reader="python -m open_clip_train.main --dataset-type webdataset --train-data '{to}/data/{{00000..LAST}}.tar'",
    )

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        folder.write(f"{DATA}/sizes.json", to_json({f"{name}.tar": count for name, count in shards.items()}))

    def picture(self, image: dict[str, bytes | str]) -> tuple[str, bytes]:
        extension, data = super().picture(image)
        return (extension, data) if extension in KNOWN else ("png", _as_png(data))


def _as_png(data: bytes) -> bytes:
    """The first frame, upright, on white, without loss."""
    sink = io.BytesIO()
    with pillow_rules(_LIMITS.max_pixels):
        picture: Image.Image = load_image(read_header(data, _LIMITS), data, _LIMITS, _LIMITS.max_pixels).image
        picture.save(sink, "PNG")
    return sink.getvalue()
