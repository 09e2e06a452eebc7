"""`caption.shots`: the file of examples, and its images as a captioner wants them."""

import hashlib
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from capfilt.core.config import DecodeSettings
from capfilt.core.errors import ConfigError, ModelError
from capfilt.core.storage import split_url
from capfilt.models.pixels import PixelSpec
from capfilt.models.shots import Shot
from capfilt.pipelines.imaging.decode_images import File, ImageFacts
from capfilt.pipelines.imaging.image_file import BadImage
from capfilt.pipelines.imaging.isolation.isolated import decode_isolated

MOST: Final = 32
"""Examples before each image: every one of them costs as much time as the image."""


def digest_of_shots(location: str) -> str:
    """12 hex digits for what a file of examples holds.

    Raises:
        ConfigError: no such file, or one without examples.
    """
    return _digest(*_read(location))


def _digest(images: pa.Array, texts: list[str]) -> str:
    told = hashlib.sha256()
    for image, text in zip(images, texts, strict=True):
        for part in (image.as_py(), text.encode("utf-8", "surrogatepass")):
            told.update(len(part).to_bytes(8, "little") + part)
    return told.hexdigest()[:12]


def load_shots(location: str, pixels: PixelSpec, planned: str = "") -> tuple[Shot, ...]:
    """The examples of a file, in its order.

    Args:
        planned: `digest_of_shots` when the work was planned; "" = it was not.

    Raises:
        ModelError: the file holds other examples now.
        ConfigError: no such file, no examples in it, or one that is no image; names the setting.
    """
    images, texts = _read(location)
    if planned not in ("", _digest(images, texts)):
        raise ModelError(f"caption.shots = {location!r}: examples changed since the run was planned")
    # As the decode stage does it, so that examples look as the images of the run do.
    files: list[File | None] = [image.as_py() for image in images]
    outcomes, canvases = decode_isolated(files, [pixels], DecodeSettings(), None)
    shots = []
    for number, (facts, canvas) in enumerate(zip(outcomes, canvases[pixels], strict=True)):
        if not isinstance(facts, ImageFacts):
            why = facts.reason if isinstance(facts, BadImage) else "unread"
            raise ConfigError(f"caption.shots = {location!r}: row {number} is not an image ({why})")
        width, height = pixels.shape(facts.width, facts.height)
        shots.append(Shot(canvas[: 3 * width * height].tobytes(), width, height, texts[number]))
    return tuple(shots)


def _read(location: str) -> tuple[pa.Array, list[str]]:
    """large_binary [n], the images' files, and their texts."""
    named = f"caption.shots = {location!r}"
    filesystem, path = split_url(location)
    try:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            if not {"image", "text"} <= set(file.schema_arrow.names):
                raise ConfigError(f"{named}: a file with the columns image and text is needed")
            if not 1 <= file.metadata.num_rows <= MOST:  # before it is read: it may be a whole corpus
                raise ConfigError(f"{named}: {file.metadata.num_rows} examples; from 1 to {MOST} are taken")
            table = file.read(columns=["image", "text"])
        image, texts = table["image"].combine_chunks(), table["text"].to_pylist()
        blobs = pc.struct_field(image, "bytes") if pa.types.is_struct(image.type) else image
    # ValueError of a path with a null byte, or of a text that is no UTF-8; Arrow's own of a struct without bytes.
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ConfigError(f"{named}: no Parquet file of examples ({str(error).splitlines()[0]})") from error
    if not pa.types.is_binary(blobs.type) and not pa.types.is_large_binary(blobs.type):
        raise ConfigError(f"{named}: its column image holds {blobs.type}, the bytes of image files are needed")
    if blobs.null_count or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ConfigError(f"{named}: every example needs an image and a text")
    return blobs.cast(pa.large_binary()), texts
