"""Random crops: boxes inside the image, the same in every resume, pixels as a resize of the part makes them."""

import numpy as np
import torch
from PIL import Image

from capfilt.models.systems.parts.crops import Box, Crops, cropped


def boxes(crops: Crops, count: int = 500) -> list[Box]:
    return crops.draw(count, torch.Generator().manual_seed(3))


def test_boxes_lie_inside_and_have_the_area_and_aspect_asked_for() -> None:
    found = boxes(Crops(least=0.2, mirrored=True))
    for box in found:
        assert 0 <= box.left <= box.left + box.width <= 1 + 1e-9
        assert 0 <= box.top <= box.top + box.height <= 1 + 1e-9
        assert 0.2 - 1e-9 <= box.width * box.height <= 1
        assert 3 / 4 - 1e-9 <= box.width / box.height <= 4 / 3 + 1e-9
    assert 0.4 < np.mean([box.mirrored for box in found]) < 0.6
    assert 0.5 < np.mean([box.width * box.height for box in found]) < 0.65


def test_the_next_draw_depends_on_the_generator_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    Crops(0.2, True).draw(5, generator)
    state = generator.get_state()
    first = Crops(0.2, True).draw(5, generator)
    torch.rand(100)
    generator.set_state(state)
    assert Crops(0.2, True).draw(5, generator) == first


def test_a_whole_image_stays_to_the_bit_and_a_mirrored_one_is_flipped() -> None:
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    assert boxes(Crops()) == [Box(0, 0, 1, 1)] * 500
    found = cropped(images, [Box(0, 0, 1, 1), Box(0, 0, 1, 1, mirrored=True)])
    assert torch.equal(found[0], images[0])
    assert torch.equal(found[1], images[1].flip(1))


def test_a_part_is_resized_as_pillow_does_it() -> None:
    image = torch.randint(90, 160, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    (found,) = cropped(image[None], [Box(0.25, 0.125, 0.5, 0.75)])
    part = Image.fromarray(image.numpy()).crop((16, 8, 48, 56))
    expected = np.asarray(part.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(found.numpy().astype(int) - expected).max() <= 2
