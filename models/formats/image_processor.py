"""What `preprocessor_config.json` of a `transformers` directory says of pixels. Free of torch."""

from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError
from capfilt.models.json_file import read_object
from capfilt.models.pixels import PixelSpec

_RESAMPLE: Final = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_PLAIN: Final = ("Blip", "CLIP", "Siglip", "ViT", "Idefics")
"""Image processors that make one square of an image and do nothing else; others tile it or take any shape."""


def read_image_processor(folder: Path) -> dict[str, Any]:
    """The image processor's settings, from whichever file holds them.

    Raises:
        ModelError: the directory has none.
    """
    for name in ("processor_config.json", "preprocessor_config.json"):
        try:
            settings = read_object(folder / name)
        except FileNotFoundError:
            continue
        found = settings.get("image_processor", settings)
        if isinstance(found, dict) and ("image_processor_type" in found or "image_mean" in found):
            return found
    raise ModelError(f"{folder}: no image processor (preprocessor_config.json); save the model's processor beside it")


def square_of(settings: dict[str, Any]) -> PixelSpec | None:
    """The one square that a plain image processor makes of every image; None for those that do something else."""
    kind = str(settings.get("image_processor_type", "")).removesuffix("Fast").removesuffix("ImageProcessor")
    resample = _RESAMPLE.get(settings.get("resample", 3))
    if kind not in _PLAIN or not settings.get("do_resize", True) or resample is None or settings.get("do_pad"):
        return None
    size, crop = _sides(settings.get("size")), _sides(settings.get("crop_size"))
    mode = "crop" if settings.get("do_center_crop") else "squash"
    if mode == "crop" and size[:1] != crop[:1]:
        return None
    if len(set(size)) != 1:
        return None
    return PixelSpec(size[0], mode, resample)  # type: ignore[arg-type]  # both are Literals, as strings


def _sides(size: Any) -> list[int]:
    if isinstance(size, int):
        return [size]
    return [size[key] for key in ("shortest_edge", "height", "width") if key in size] if isinstance(size, dict) else []
