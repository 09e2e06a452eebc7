"""The pictures: the same for the same seed, true to their scene, and to be told apart when small."""

from itertools import product

import numpy as np
import pytest
from PIL import Image

from capfilt.demo.world import BACKGROUNDS, COLORS, RELATIONS, SHAPES, SIZES, Scene, Thing, layout, random_scene, render
from capfilt.demo.world.scene import boxes

PALETTE = tuple(COLORS) + tuple(BACKGROUNDS)
TINTS = np.array([*COLORS.values(), *BACKGROUNDS.values()])


def scenes(n: int, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [random_scene(rng) for _ in range(n)]


def alone(thing: Thing, background: str = "white", seed: int = 0) -> Scene:
    return Scene((thing,), None, background, seed)


def inked(picture: Image.Image) -> np.ndarray:
    """Where a picture on white is coloured."""
    pixels = np.asarray(picture).astype(int)
    return np.ptp(pixels, axis=2) > 60


def test_the_same_seed_gives_the_same_scenes() -> None:
    assert scenes(50) == scenes(50)
    assert scenes(50) != scenes(50, seed=1)


def test_a_scene_is_one_picture() -> None:
    for scene in scenes(20):
        assert render(scene).tobytes() == render(scene).tobytes()


def test_the_seed_makes_another_picture_of_the_same_words() -> None:
    thing = Thing("small", "red", "circle")
    assert render(alone(thing, seed=1)).tobytes() != render(alone(thing, seed=2)).tobytes()


def test_boxes_are_where_the_things_are_drawn() -> None:
    for seed, (size, shape) in enumerate(product(SIZES, ("square", "circle"))):
        scene = alone(Thing(size, "red", shape), seed=seed)
        rows, columns = np.nonzero(inked(render(scene, 96)))
        drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 96
        assert np.abs(drawn - boxes(scene)[0]).max() < 0.03


@pytest.mark.parametrize("size", [48, 96, 224])
def test_a_picture_has_the_size_asked_for(size: int) -> None:
    picture = render(scenes(1)[0], size)
    assert (picture.mode, picture.size) == ("RGB", (size, size))


def test_random_scenes_are_even_and_well_formed() -> None:
    drawn = scenes(4000)
    assert 0.22 < np.mean([len(scene.things) == 1 for scene in drawn]) < 0.28
    assert all((scene.relation is None) == (len(scene.things) == 1) for scene in drawn)
    assert all(len(set(scene.things)) == len(scene.things) for scene in drawn)
    assert {scene.relation for scene in drawn} == {None, *RELATIONS}
    assert {scene.background for scene in drawn} == set(BACKGROUNDS)
    assert {thing for scene in drawn for thing in scene.things} == {
        Thing(size, color, shape) for size, color, shape in product(SIZES, COLORS, SHAPES)
    }


def test_things_lie_inside_apart_and_as_the_relation_says() -> None:
    for scene in scenes(3000):
        places = layout(scene, np.random.default_rng(scene.seed))
        for place in places:
            assert min(place.x, place.y) - place.radius > 0.02
            assert max(place.x, place.y) + place.radius < 0.98
        if scene.relation is None:
            continue
        first, second = places
        step = np.array([first.x - second.x, first.y - second.y])
        direction = np.array(RELATIONS[scene.relation])
        assert step @ direction > first.radius + second.radius + 0.06
        assert np.abs(step @ direction[::-1]) < 0.09


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_thing_is_larger_than_a_small_one(shape: str) -> None:
    small, large = (
        [inked(render(alone(Thing(size, "red", shape), seed=seed))).sum() for seed in range(20)] for size in SIZES
    )
    assert min(large) > 1.7 * max(small)


@pytest.mark.slow
def test_colors_are_told_by_the_nearest_word_at_48_pixels() -> None:
    for seed, (size, color, shape, background) in enumerate(product(SIZES, COLORS, SHAPES, BACKGROUNDS)):
        picture = render(alone(Thing(size, color, shape), background, seed)).resize((48, 48), Image.Resampling.BICUBIC)
        apart = ((np.asarray(picture).astype(int)[:, :, None] - TINTS) ** 2).sum(axis=3)
        counts = np.bincount(apart.argmin(axis=2).ravel(), minlength=len(PALETTE))
        assert PALETTE[counts.argmax()] == background
        assert PALETTE[counts[: len(COLORS)].argmax()] == color


def test_shapes_stay_apart_at_48_pixels() -> None:
    """A small thing, cut out, is most like a picture of its own shape."""
    known = [(shape, small_and_centred(shape, seed)) for shape in SHAPES for seed in range(20)]
    for shape, seed in product(SHAPES, range(20, 30)):
        cut = small_and_centred(shape, seed)
        assert min(known, key=lambda pair: float(np.abs(pair[1] - cut).sum()))[0] == shape


def small_and_centred(shape: str, seed: int) -> np.ndarray:
    picture = render(alone(Thing("small", "blue", shape), seed=seed)).resize((48, 48), Image.Resampling.BICUBIC)
    cover = np.clip((255 - np.asarray(picture)[:, :, 0].astype(float)) / 210, 0, 1)
    ys, xs = np.nonzero(cover > 0.4)
    y, x = (ys.min() + ys.max() + 1) // 2, (xs.min() + xs.max() + 1) // 2
    return np.pad(cover, 8)[y : y + 16, x : x + 16]
