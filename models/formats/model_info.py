"""What is known of a model before it is loaded. Free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from capfilt.models.formats.open_clip_source import OpenClipSource
from capfilt.models.pixels import PixelSpec

Role = Literal["captioner", "filter"]

DUAL: Final = {
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "vision-text-dual-encoder": "VisionTextDualEncoderModel",
}
"""Classes of `transformers` for an image and a text tower side by side, by the `model_type` of their config.json."""

ALPHA: Final = "alpha"
"""The setting in config.json by which a CLIP is an Alpha-CLIP; its value says what whole images are shown with."""
ONES: Final = "ones"
"""A mask of ones, as in the published weights."""
OFF: Final = "off"
"""No mask at all, which leaves the CLIP that was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model that `registry.resolve` found: where it is, what it can do, and which pixels it wants."""

    name: str  # as a person wrote it
    family: str  # of `registry.families`
    folder: Path
    roles: tuple[str, ...]
    pixels: PixelSpec
    files: tuple[Path, ...]  # what its digest is made of
    columns: tuple[str, ...] = ()  # the scores it gives; () where it is no judge
    features: int = 0  # numbers of the feature of an image alone; 0 = it has none
    shots: Literal["", "template", "rows"] = ""  # how examples stand before an image; "" = it takes none of itself
    open_clip: OpenClipSource | None = None
