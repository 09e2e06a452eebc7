"""An image judge of a person's own that needs no weights: `python:light_judge:LightJudge`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from capfilt.models.pixels import PixelSpec


class LightJudge:
    """Tells how light an image is, in every type of column that is not plain."""

    name = "light"
    digest = "0c" * 6
    pixels = PixelSpec(8, "squash")
    columns: Mapping[str, str] = {"light": "float", "vector": "halffloat[2]", "names": "list<string>"}

    def __init__(self, placement: object) -> None:
        del placement

    def describe(self, images: Tensor) -> dict[str, list[Any]]:
        light = images.float().mean(dim=(1, 2, 3)).tolist()
        names = [["light"] if one > 128 else ["dark"] for one in light]
        return {"light": light, "vector": [[one / 256, 0.5] for one in light], "names": names}
