"""Images made small. What reaches the browser is always a JPEG drawn here, never the bytes a stranger's site sent."""

import io
from functools import partial
from itertools import accumulate
from typing import Final

from capfilt.browse.index import Missing
from capfilt.browse.lru_cache import LRUCache
from capfilt.core.config import DecodeSettings
from capfilt.core.tables import opened
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.imaging.image_file import load_image, read_header
from capfilt.pipelines.imaging.pillow import pillow_rules
from capfilt.pipelines.imaging.pixel_budget import PixelBudget

SIZES: Final = (320, 1280)
"""Longest sides that may be asked for, in pixels: of the grid, and of one image alone."""

GROUP_BYTES: Final = 128_000_000
THUMBNAIL_BYTES: Final = 32_000_000
"""What is remembered: original bytes of the latest row groups, and drawn thumbnails."""

Group = dict[str, bytes]
"""The original bytes of one row group of images/, by uid."""


class Thumbnails:
    """Draws images of a run; safe to call from several threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._folder = ledger.folder
        self._settings = DecodeSettings(max_pixels=ledger.run["recipe"]["decode"]["max_pixels"])
        self.forget()
        self._room = PixelBudget(self._settings.max_pixels)

    def forget(self) -> None:
        """Start without any remembered image."""
        self._groups: LRUCache[tuple[str, int], Group] = LRUCache(
            GROUP_BYTES, lambda group: sum(map(len, group.values()))
        )
        self._drawn: LRUCache[tuple[str, int], bytes] = LRUCache(THUMBNAIL_BYTES, len)
        self._ends: LRUCache[str, list[int]] = LRUCache(1_000_000, lambda ends: 8 * len(ends))

    def draw(self, chunk: str, row: int, uid: str, size: int) -> bytes:
        """A JPEG whose longest side is `size` pixels, or its own where that is less.

        Args:
            row: where in the chunk's file the image stood when the run was read.

        Raises:
            Missing: it is not there any more.
            BadImage: it cannot be decoded.
        """
        return self._drawn.get((uid, size), lambda: self._draw(self._bytes(chunk, row, uid), size))

    def _bytes(self, chunk: str, row: int, uid: str) -> bytes:
        name = f"images/{chunk}.parquet"
        ends = self._ends.get(chunk, lambda: self._group_ends(name))
        first = next((group for group, end in enumerate(ends) if row < end), len(ends) - 1)
        # By uid, not by row: `forget` may have rewritten the file, and a wrong image would be judged. What is left
        # then stands in the same group as before or in an earlier one.
        for number in range(first, -1, -1):
            group = self._groups.get((chunk, number), partial(self._read, name, number))
            if uid in group:
                return group[uid]
        raise Missing(f"image {uid}")

    def _group_ends(self, name: str) -> list[int]:
        with opened(self._folder, name) as file:
            rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return list(accumulate(rows))

    def _read(self, name: str, number: int) -> Group:
        with opened(self._folder, name) as file:
            if number >= file.num_row_groups:
                return {}
            table = file.read_row_group(number, ["uid", "image.bytes"])
        pictures = table["image"].combine_chunks().field("bytes")
        pairs = zip(table["uid"].to_pylist(), pictures.to_pylist(), strict=True)
        return {uid: data for uid, data in pairs if data is not None}

    def _draw(self, data: bytes, size: int) -> bytes:
        with pillow_rules(self._settings.max_pixels):
            file = read_header(data, self._settings)
            with self._room.held(file.width * file.height):
                picture = load_image(file, data, self._settings, size).image
        picture.thumbnail((size, size))
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=85)
        return sink.getvalue()
