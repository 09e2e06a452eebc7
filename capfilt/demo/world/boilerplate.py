"""Text that stands next to images on the web and says nothing of them."""

from collections.abc import Callable
from typing import Final

import numpy as np

from capfilt.demo.world.scene import COLORS, pick

_FIXED: Final = (
    "click to enlarge",
    "click here to buy",
    "click here for more",
    "buy now",
    "add to cart",
    "free shipping on all orders",
    "image not available",
    "no image",
    "photo coming soon",
    "all rights reserved",
    "share this page",
    "sign up for our newsletter",
    "home about contact",
    "read more",
    "you may also like",
    "view full size",
    "download free wallpaper",
    "our logo",
    "advertisement",
    "loading please wait",
)
_MONTHS: Final = ("january", "march", "april", "june", "july", "september", "october", "december")
_GOODS: Final = ("shoes", "shirt", "mug", "bag", "hat", "sofa", "lamp", "phone case")
_OFFERS: Final = ("on sale", "free shipping", "best price", "in stock", "size m", "new arrival")


def boilerplate(rng: np.random.Generator) -> str:
    """One such text: half of them fixed phrases, the others filled with numbers, dates or goods."""
    return pick(rng, _FIXED) if rng.random() < 0.5 else _FORMS[int(rng.integers(len(_FORMS)))](rng)


def _date(rng: np.random.Generator) -> str:
    return f"{pick(rng, _MONTHS)} {rng.integers(1, 29)} {rng.integers(2001, 2025)}"


def _goods(rng: np.random.Generator) -> str:
    return f"{pick(rng, tuple(COLORS))} {pick(rng, _GOODS)} {pick(rng, _OFFERS)}"


_FORMS: Final[tuple[Callable[[np.random.Generator], str], ...]] = (
    lambda rng: f"IMG_{rng.integers(1000, 10000)}.jpg",
    lambda rng: f"DSC{rng.integers(10000, 100000)}.JPG",
    lambda rng: f"screenshot {rng.integers(1, 100)}.png",
    lambda rng: f"image ({rng.integers(1, 100)}).png",
    lambda rng: f"stock photo {rng.integers(10000, 100000)}",
    lambda rng: f"copyright {rng.integers(2001, 2025)} all rights reserved",
    lambda rng: f"buy now and save {5 * rng.integers(1, 15)}%",
    lambda rng: f"only ${rng.integers(1, 100)}.99",
    lambda rng: f"page {rng.integers(1, 10)} of {rng.integers(10, 100)}",
    lambda rng: f"posted on {_date(rng)}",
    lambda rng: f"photo taken {_date(rng)}",
    _goods,
)
