"""Scenes of the little world and their images.

A scene says which things an image shows, how they lie to each other and on what ground. `render` turns it into
pixels: where exactly the things lie, their tint, their tilt and the texture come from the scene's own seed, so that
one scene is one image and two scenes told in the same words are two different images.

Lengths are fractions of the image's side; y grows downwards, as in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats: TypeAlias = NDArray[np.float64]
Rgb: TypeAlias = tuple[int, int, int]

COLORS: Final[dict[str, Rgb]] = {
    "red": (222, 28, 34),
    "orange": (250, 132, 14),
    "yellow": (250, 226, 30),
    "green": (24, 158, 52),
    "cyan": (38, 210, 222),
    "blue": (34, 78, 232),
    "purple": (132, 36, 176),
    "pink": (252, 130, 196),
    "brown": (122, 70, 28),
}
BACKGROUNDS: Final[dict[str, Rgb]] = {
    "white": (243, 243, 243),
    "black": (14, 14, 14),
    "gray": (128, 128, 128),
    "beige": (218, 202, 172),
    "navy": (16, 22, 66),
}
SIZES: Final[dict[str, float]] = {"small": 0.24, "large": 0.40}
"""The longer side of a thing's bounding box, before a jitter of 5 %."""
RELATIONS: Final[dict[str, tuple[int, int]]] = {
    "to the left of": (-1, 0),
    "to the right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}
"""The direction (x, y) in which the first thing lies, seen from the second."""
INVERSE: Final[dict[str, str]] = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}

_EDGE: Final = 0.03  # of a thing to the edge of the image, at least
_GAP: Final = 0.07  # between two things, so that they never touch
_WIDEST_GAP: Final = 0.22
_OFFSET: Final = 0.04  # by which either of two things may be off their common level
_TINT: Final = 12  # of 255, by which a channel of a thing's color varies; of the ground a third
_SHADE: Final = 8  # of 255, from the middle to the edge
_GRAIN: Final = 5  # of 255
_OVERSAMPLE: Final = 4  # outlines are drawn so many times as large: Pillow's polygons have no smooth edges


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of an image, each word taken from SIZES, COLORS and SHAPES."""

    size: str
    color: str
    shape: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two things on a background; `things[0]` lies `relation` `things[1]`.

    `relation` is None if and only if there is one thing. `seed` settles everything words do not say.
    """

    things: tuple[Thing, ...]
    relation: str | None
    background: str
    seed: int


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """Where a thing lies: the center and half the longer side of its bounding box."""

    x: float
    y: float
    radius: float


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options, all equally likely (`Generator.choice` takes ten times as long)."""
    return options[int(rng.integers(len(options)))]


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene drawn evenly: one thing in a quarter of the cases, else two that are not alike."""
    first, second = _random_thing(rng), _random_thing(rng)
    while second == first:
        second = _random_thing(rng)
    alone = rng.random() < 0.25
    return Scene(
        things=(first,) if alone else (first, second),
        relation=None if alone else pick(rng, tuple(RELATIONS)),
        background=pick(rng, tuple(BACKGROUNDS)),
        seed=int(rng.integers(2**31)),
    )


def render(scene: Scene, size: int = 96) -> Image.Image:
    """The scene's image, RGB, `size` by `size`; the same scene gives the same pixels."""
    rng = np.random.default_rng(scene.seed)
    picture = Image.new("RGB", (size, size), _tinted(BACKGROUNDS[scene.background], rng, _TINT // 3))
    for thing, place in zip(scene.things, layout(scene, rng), strict=True):
        tint, mask = _tinted(COLORS[thing.color], rng, _TINT), _mask(thing.shape, place, size, rng)
        picture.paste(tint, (0, 0), mask)
    return _textured(picture, rng)


def boxes(scene: Scene) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each thing in the scene's image, in shares of its width and height."""
    rng = np.random.default_rng(scene.seed)
    _tinted(BACKGROUNDS[scene.background], rng, _TINT // 3)  # `render` draws this one before the layout
    places = layout(scene, rng)
    return [(at.x - at.radius, at.y - at.radius, at.x + at.radius, at.y + at.radius) for at in places]


def layout(scene: Scene, rng: np.random.Generator) -> tuple[BoundingBox, ...]:
    """Places for the scene's things: inside the image, apart from each other, true to the relation."""
    radii = [SIZES[thing.size] * rng.uniform(0.95, 1.05) / 2 for thing in scene.things]
    if scene.relation is None:
        x, y = rng.uniform(_EDGE + radii[0], 1 - _EDGE - radii[0], 2).tolist()
        return (BoundingBox(x, y, radii[0]),)
    dx, dy = RELATIONS[scene.relation]
    # Left of, or above: x and y grow to the right and downwards, so the first thing comes first.
    forwards = dx + dy < 0
    along = _in_a_row(radii if forwards else radii[::-1], rng)
    along = along if forwards else along[::-1]
    across = _side_by_side(radii, rng)
    points = zip(along, across, strict=True) if dx else zip(across, along, strict=True)
    return tuple(BoundingBox(x, y, radius) for (x, y), radius in zip(points, radii, strict=True))


def _random_thing(rng: np.random.Generator) -> Thing:
    return Thing(pick(rng, tuple(SIZES)), pick(rng, tuple(COLORS)), pick(rng, SHAPES))


def _in_a_row(radii: Sequence[float], rng: np.random.Generator) -> list[float]:
    """Centers of two things, one after the other along the relation's axis."""
    room = 1 - 2 * _EDGE - 2 * sum(radii)
    gap = rng.uniform(_GAP, min(_WIDEST_GAP, room))
    start = _EDGE + rng.uniform(0, room - gap)
    return [start + radii[0], start + 2 * radii[0] + gap + radii[1]]


def _side_by_side(radii: Sequence[float], rng: np.random.Generator) -> list[float]:
    """Centers of two things on the other axis: about level, wherever the wider one fits."""
    margin = _EDGE + max(radii) + _OFFSET
    level = rng.uniform(margin, 1 - margin)
    return [level + rng.uniform(-_OFFSET, _OFFSET) for _ in radii]


def _tinted(color: Rgb, rng: np.random.Generator, jitter: int) -> Rgb:
    red, green, blue = np.clip(np.add(color, rng.integers(-jitter, jitter + 1, 3)), 0, 255).tolist()
    return red, green, blue


def _mask(shape: str, place: BoundingBox, size: int, rng: np.random.Generator) -> Image.Image:
    """How much of each pixel the thing covers, 0 to 255."""
    side = size * _OVERSAMPLE
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    # Only a ring has a second outline, its hole.
    for outline, ink in zip(_turned(_OUTLINES[shape], rng.uniform(-1, 1) * _TILT[shape]), (255, 0), strict=False):
        draw.polygon(((outline * place.radius + (place.x, place.y)) * side).ravel().tolist(), fill=ink)
    return canvas.reduce(_OVERSAMPLE)


def _turned(outlines: Sequence[Floats], degrees: float) -> list[Floats]:
    """The outlines turned, then fitted again into the square from -1 to 1."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = [outline @ np.array([[cos, sin], [-sin, cos]]) for outline in outlines]
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    return [(outline - (low + high) / 2) * 2 / (high - low).max() for outline in turned]


def _textured(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The image under a light that falls off mildly in one direction, with fine grain."""
    width, height = picture.size
    slope_x, slope_y = rng.uniform(-_SHADE, _SHADE, 2)
    light = slope_y * np.linspace(-1, 1, height)[:, None] + slope_x * np.linspace(-1, 1, width)
    light = light.astype(np.int16) + rng.integers(-_GRAIN, _GRAIN + 1, (height, width), dtype=np.int8)
    pixels = np.asarray(picture).astype(np.int16) + light[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _spokes(radii: Sequence[float], corners: int) -> Floats:
    """A closed outline around the origin, its corners at the given radii in turn, the first one on top."""
    angles = np.arange(corners) * 2 * np.pi / corners
    reach = np.resize(np.asarray(radii, dtype=np.float64), corners)
    return np.stack([np.sin(angles) * reach, -np.cos(angles) * reach], axis=1)


def _heart() -> Floats:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([16 * np.sin(t) ** 3, y], axis=1)


def _cross() -> Floats:
    w = 0.3
    half = [(-w, -1), (w, -1), (w, -w), (1, -w), (1, w), (w, w)]
    return np.array([*half, *((-x, -y) for x, y in half)], dtype=np.float64)


_OUTLINES: Final[dict[str, tuple[Floats, ...]]] = {
    "circle": (_spokes([1], 48),),
    "square": (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64),),
    "triangle": (_spokes([1], 3),),
    "diamond": (_spokes([1, 0.64], 4),),
    "star": (_spokes([1, 0.42], 10),),
    "cross": (_cross(),),
    "ring": (_spokes([1], 48), _spokes([0.56], 48)),
    "heart": (_heart(),),
}
"""The outer outline of each shape and, of a ring, its hole."""
_TILT: Final[dict[str, float]] = {
    "circle": 0,
    "square": 8,
    "triangle": 10,
    "diamond": 8,
    "star": 15,
    "cross": 10,
    "ring": 0,
    "heart": 10,
}
"""The most degrees a shape is turned by: a square stays a square and a cross never becomes an x."""
SHAPES: Final[tuple[str, ...]] = tuple(_OUTLINES)
