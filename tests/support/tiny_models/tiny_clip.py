"""A CLIP of the smallest shape that open_clip and OpenAI's names can have too: heads are 64 wide there."""

from capfilt.models.systems.dual.system import DualSize

SIZE = DualSize(
    image_size=16,
    patch_size=4,
    vision_width=64,
    vision_layers=2,
    vision_heads=1,
    text_width=24,
    text_layers=1,
    text_heads=4,
    max_tokens=12,
    projection=16,
)
