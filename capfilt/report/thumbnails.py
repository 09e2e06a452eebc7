"""Images of a run, drawn small into the page itself."""

import base64
import io
from collections.abc import Iterable
from typing import Final

from capfilt.core.config import DecodeSettings
from capfilt.ledger.image_reader import read_images
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.imaging.image_file import BadImage, load_image, read_header
from capfilt.pipelines.imaging.pillow import pillow_rules

SIDE: Final = 280
"""Pixels of the longer side."""

QUALITY: Final = 72  # of JPEG


def thumbnails(ledger: Ledger, uids: Iterable[str]) -> dict[str, str]:
    """uid -> a data URI of a JPEG; images that cannot be decoded any more are left out."""
    settings = DecodeSettings(max_pixels=ledger.run["recipe"]["decode"]["max_pixels"])
    drawn = {}
    with pillow_rules(settings.max_pixels):
        for uid, data in read_images(ledger, sorted(set(uids))):
            try:
                drawn[uid] = _draw(data, settings)
            except BadImage:
                continue  # it was decoded once; the page says that it cannot be shown
    return drawn


def _draw(data: bytes, settings: DecodeSettings) -> str:
    picture = load_image(read_header(data, settings), data, settings, SIDE).image
    picture.thumbnail((SIDE, SIDE))
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"
