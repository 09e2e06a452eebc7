"""Pillow's process-wide switches, and which of its formats are let in."""

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Final

from PIL import Image, ImageFile

SIGNED: Final = (
    "JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "ICO", "JPEG2000", "PPM", "PSD", "QOI", "ICNS", "DIB",
    "DDS", "PCX", "DCX", "SGI", "SUN", "MSP", "XBM", "XPM", "FLI", "BLP", "FTEX", "GBR", "PIXAR", "XVTHUMB",
    "HEIF", "JXL",
)  # fmt: skip
"""Raster formats that begin with a signature."""

UNSIGNED: Final = ("CUR", "TGA", "PCD")
"""Raster formats that are only recognized by trying to read them: the signature of CUR also begins many a TGA."""

# Left out on purpose: EPS and PDF (Ghostscript, an external program), WMF, BUFR, GRIB and HDF5 (stubs for code that
# is not there), FITS (astronomy's; 2 MB of one took 4.2 GB), MPEG (a film), FPX and MIC (need olefile), IPTC (a
# wrapper that opens further files), IM (about to leave Pillow), and IMT, MCIDAS and SPIDER, whose header tests are
# loose enough to take noise for an image.


class _Switches:
    """Who holds Pillow's switches now: any number of threads under one pixel cap, others wait."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.holders = 0
        self.max_pixels = 0
        self.before: tuple[int | None, bool] = (None, False)


_SWITCHES: Final = _Switches()


@contextmanager
def pillow_rules(max_pixels: int) -> Iterator[None]:
    """Hold Pillow to our rules: the pixel cap everywhere, truncated files refused, its warnings silent.

    The switches belong to the process: threads under the same cap share them, others wait until they are free. So hold
    them for as long as images are decoded and no longer: whoever keeps them stops every other decode of the process.
    """
    held = _SWITCHES
    with held.changed:
        held.changed.wait_for(lambda: held.holders == 0 or held.max_pixels == max_pixels)
        held.holders += 1
        if held.holders == 1:
            held.max_pixels, held.before = max_pixels, (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
            # Pillow raises above TWICE its limit (and only warns above once). Its own checks reach where ours cannot:
            # the PNG inside an ICO or ICNS, a GIF frame larger than its screen, a WebP canvas before it is allocated.
            Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            _silence_pillow()
    try:
        yield
    finally:
        with held.changed:
            held.holders -= 1
            if held.holders == 0:
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = held.before
                held.changed.notify_all()


def _silence_pillow() -> None:
    """Ignore warnings issued inside Pillow: what a file is worth must not hang on the interpreter's `-W` flags.

    The filter stays: taking it away again, as `warnings.catch_warnings` does, restores a whole list and would undo
    what other threads have changed in between. Adding it twice does not lengthen the list.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


@cache
def installed(formats: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the formats that this Pillow knows (AVIF came with 11.3)."""
    Image.init()
    _load_plugins()
    return tuple(name for name in formats if name in Image.OPEN)


def _load_plugins() -> None:
    """Let in the formats of the extras `heif` and `jxl`, where they are installed."""
    with suppress(ImportError):
        pillow_heif = import_module("pillow_heif")
        pillow_heif.register_heif_opener()
    with suppress(ImportError):
        import_module("pillow_jxl")


def signatures(prefix: bytes) -> tuple[str, ...]:
    """The formats whose signature a file begins with, given its first 16 bytes; as a rule one or none."""
    return tuple(name for name in installed(SIGNED) if _accepts(name, prefix))


def _accepts(name: str, prefix: bytes) -> bool:
    accept = Image.OPEN[name][1]
    try:
        return accept is not None and bool(accept(prefix))
    except (IndexError, TypeError, struct.error):
        return False  # shorter than the signature
