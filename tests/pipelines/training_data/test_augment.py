"""Images as a training shows them."""

import numpy as np
import pytest
from PIL import Image

from capfilt.pipelines.training_data.augment import CHANGES, Augmentation, augment, shown_texts

ALL = Augmentation(crop=0.2, flip=True, changes=2)
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), np.uint8)
TEXTS = ["a dog"] * 24


def test_an_image_depends_on_seed_step_and_place_alone() -> None:
    """So two workers show what one shows, and a resume what the first run would have shown."""
    whole = augment(IMAGES, TEXTS, ALL, (3, 7))
    halves = [augment(IMAGES[a : a + 12], TEXTS[:12], ALL, (3, 7), a) for a in (0, 12)]
    assert np.array_equal(whole, np.concatenate(halves))
    for other in ((3, 8), (4, 7)):
        changed = [not np.array_equal(a, b) for a, b in zip(whole, augment(IMAGES, TEXTS, ALL, other), strict=True)]
        assert sum(changed) > 20


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("a dog", True),
        ("a bright light", True),
        ("a dog on the Left", False),
        ("лев. слева", False),
        ("左边的狗", False),
    ],
)
def test_no_image_is_mirrored_whose_text_says_left_or_right(text: str, mirrored: bool) -> None:
    shown = augment(IMAGES, [text] * 24, Augmentation(flip=True), (0, 0))
    turned = [np.array_equal(image, own[:, ::-1]) for image, own in zip(shown, IMAGES, strict=True)]
    assert (4 < sum(turned) < 20) == mirrored
    same = [np.array_equal(image, own) for image, own in zip(shown, IMAGES, strict=True)]
    assert sum(same) + sum(turned) == 24


def test_a_crop_shows_a_part_and_all_of_it_at_times() -> None:
    """Of a ramp from dark to light, a crop of a fifth of the area and more spans less than the whole."""
    ramp = np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8)[None, None, :, None], (200, 32, 32, 3))
    spans = np.ptp(
        augment(ramp.copy(), ["a"] * 200, Augmentation(crop=0.2), (1, 1))[:, :, :, 0].astype(int), axis=(1, 2)
    )
    assert spans.min() > 0.25 * 248
    assert spans.max() > 0.95 * 248
    assert 0.4 < (spans < 0.8 * 248).mean() < 0.95


def test_every_change_keeps_the_shape_and_none_is_lost() -> None:
    image = Image.fromarray(IMAGES[0])
    results = [np.asarray(change(image, 1.0)) for change in CHANGES]
    assert all(result.shape == (16, 16, 3) for result in results)
    assert len({result.tobytes() for result in results}) >= len(CHANGES) - 1


def test_all_that_is_said_of_an_image_counts() -> None:
    questions = [{"question": "what is on the left?", "answers": ["dog"]}, "a dog"]
    assert ["left" in text for text in shown_texts(questions, [[], ["on the left"]])] == [True, True]
