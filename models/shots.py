"""Examples that a captioner sees before the image it captions. Free of torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Shot:
    """An image, as the captioner's `pixels` ask, and its caption."""

    rgb: bytes  # width * height * 3
    width: int
    height: int
    text: str

    @property
    def picture(self) -> "Image":
        """The image, as Pillow has it."""
        from PIL import Image

        return Image.frombytes("RGB", (self.width, self.height), self.rgb)
