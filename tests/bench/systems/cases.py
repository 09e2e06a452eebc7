"""What is trained, on what, how it is measured, and which training is the twin that must do worse."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One training. A setting of `PLACES` names another case, which is trained before."""

    system: str
    settings: tuple[str, ...]
    data: str = "train"
    test: str = "test"
    measure: str = "retrieval"  # a function of `measures`
    twin_of: str = ""


PLACES: Final = ("model.start", "model.vision", "codebook.teacher")


def _steps(steps: int, batch: int = 48, rate: float | None = None) -> tuple[str, ...]:
    changes = (f"schedule.steps={steps}", f"schedule.batch={batch}")
    return changes if rate is None else (*changes, f"schedule.rate={rate}")


BIG: Final = "model.image_size=96"  # 144 patches
SMALL: Final = "model.image_size=64"  # photographs of 112 pixels, 64 patches
PHOTOS: Final = {"data": "photos", "test": "other photos"}
LANGUAGE: Final = ("model.vision=clip", "model.language=demo-language")
TOLD: Final = {"data": "told", "test": "told test", "measure": "captions"}
LLAVA: Final = Case(system="llava", settings=(*_steps(400, 32, 4e-3), *LANGUAGE), **TOLD)
FLAMINGO: Final = Case(
    system="flamingo", settings=(*_steps(400, 32, 1e-3), *LANGUAGE, "flamingo.latents=16", "flamingo.depth=2"), **TOLD
)
ALPHA: Final = Case(
    system="alpha-clip",
    settings=(*_steps(200, 64), "model.start=clip"),
    data="regions",
    test="regions test",
    measure="regions",
)
PHOTOS_CLIP: Final = Case(system="clip", settings=(*_steps(600, 64), SMALL), **PHOTOS)
MED: Final = (*_steps(240, 48), SMALL, "model.size=med-tiny-patch", "objectives.itm=0", "data.marked=0")

CASES: Final[Mapping[str, Mapping[str, Case]]] = {
    "world": {
        "clip": Case(system="clip", settings=_steps(400)),
        "clip, captions shuffled": Case(system="clip", settings=_steps(400), data="shuffled", twin_of="clip"),
        "siglip": Case(system="siglip", settings=_steps(400)),
        "lit on clip's tower": Case(system="lit", settings=(*_steps(100), "model.vision=clip")),
        "clip, as short": Case(system="clip", settings=_steps(100), twin_of="lit on clip's tower"),
        "lit, captions shuffled": Case(
            system="lit",
            settings=(*_steps(100), "model.vision=clip"),
            data="shuffled",
            twin_of="lit on clip's tower",
        ),
    },
    "flip": {
        "clip, 144 patches": Case(system="clip", settings=(*_steps(150), BIG)),
        "flip, 50 %": Case(system="flip", settings=(*_steps(300), BIG)),
        "flip, tuned": Case(system="clip", settings=(*_steps(30, rate=2e-4), "model.start=flip, 50 %")),
        "flip, 75 %": Case(system="flip", settings=(*_steps(300), BIG, "contrast.drop=0.75")),
    },
    "photographs": {
        "photos: clip": PHOTOS_CLIP,
        "photos: clip, captions shuffled": replace(PHOTOS_CLIP, data="shuffled photos", twin_of="photos: clip"),
        "photos: siglip": Case(system="siglip", settings=(*_steps(600, 64), SMALL), **PHOTOS),
        "photos: lit on clip's tower": Case(
            system="lit", settings=(*_steps(300, 64), "model.vision=photos: clip"), **PHOTOS
        ),
    },
    "language": {
        "llava, stage 1": LLAVA,
        "llava, captions shuffled": replace(LLAVA, data="told shuffled", twin_of="llava, stage 1"),
        "llava, stage 2": Case(
            system="llava-tune",
            settings=(*_steps(200, 32, 5e-4), "model.start=llava, stage 1"),
            measure="answers",
        ),
        "flamingo": FLAMINGO,
        "flamingo, captions shuffled": replace(FLAMINGO, data="told shuffled", twin_of="flamingo"),
    },
    "regions": {
        "alpha-clip": ALPHA,
        "alpha-clip, boxes shuffled": replace(ALPHA, data="regions shuffled", twin_of="alpha-clip"),
    },
    "towers": {
        "photos: mae": Case(system="mae", settings=_steps(600, 64, 1.5e-3), measure="rebuilt", **PHOTOS),
        "photos: mae, positions zero": Case(
            system="mae",
            settings=(*_steps(600, 64, 1.5e-3), "model.start=mae without positions"),
            measure="rebuilt",
            twin_of="photos: mae",
            **PHOTOS,
        ),
        "photos: beit": Case(
            system="beit",
            settings=(*_steps(900), SMALL, "codebook.teacher=photos: clip"),
            measure="tokens",
            **PHOTOS,
        ),
        "photos: med": Case(system="med", settings=MED, **PHOTOS),
        "photos: med on mae's tower": Case(
            system="med", settings=(*MED, "model.vision=photos: mae"), twin_of="photos: med", **PHOTOS
        ),
    },
}
"""By parts, which can be asked for one by one; a part may need an earlier one."""
