"""What `preprocessor_config.json` of a `transformers` directory says of pixels. Free of torch."""

import math
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import check_values
from capfilt.models.json_file import read_object
from capfilt.models.pixels import PixelSpec

_RESAMPLE: Final = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_PLAIN: Final = ("Blip", "CLIP", "Siglip", "ViT", "Idefics")
"""Image processors that make one square of an image and do nothing else; others tile it or take any shape."""


_SCALED: Final = {"do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}


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


def read_normalizing_processor(folder: Path) -> dict[str, Any]:
    """The same of one that does to pixels what `normalize` does: scale to 0..1, subtract a mean, divide by a deviation.

    Raises:
        ModelError: it does something else, which would change every score in silence; names the setting.
    """
    settings = read_image_processor(folder)
    check_values(settings, _SCALED, folder, "image processor: ")
    return settings | {name: _of_rgb(settings.get(name), name, folder) for name in ("image_mean", "image_std")}


def _of_rgb(said: Any, name: str, folder: Path) -> list[float]:
    """One number for each color; a single one is for all three."""
    values = said if isinstance(said, list) else [said] * 3
    fine = len(values) == 3 and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    if not fine or (name == "image_std" and 0 in values):
        raise ModelError(f"{folder}: image processor: {name} = {said!r} is not supported, only three numbers")
    return [float(value) for value in values]


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
