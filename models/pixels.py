"""What pixels a model wants. Free of torch, so that the decode stage can ask for them without loading a model."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """A square RGB picture of `size` x `size` x 3 bytes.

    `squash` resizes both sides whatever the aspect (BLIP); `crop` resizes the shorter side and cuts the centre (CLIP).
    Resampling is bicubic with antialiasing, as Pillow does it.
    """

    size: int
    mode: Literal["squash", "crop"] = "squash"

    @property
    def name(self) -> str:
        """What the stage calls the column: `squash-384`."""
        return f"{self.mode}-{self.size}"

    @property
    def bytes(self) -> int:
        """Bytes of one picture."""
        return self.size * self.size * 3
