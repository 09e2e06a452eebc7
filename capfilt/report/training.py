"""Loss curves of the models that a run used, where their trainings left them."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capfilt.charts.loss_curves import FILE, HOME
from capfilt.core.config import CaptionSettings


def loss_curves(recipe: Mapping[str, Any]) -> dict[str, str]:
    """An image, as a URL that holds it, of each model of the recipe that is a directory with its training in it.

    Names that are no path from where the report is asked for have none.
    """
    names = dict.fromkeys((*CaptionSettings.model_validate(recipe["caption"]).captioners, *recipe["score"]["judges"]))
    places = {name: Path(name) / HOME / FILE for name in names}
    return {name: _as_url(place.read_bytes()) for name, place in places.items() if place.is_file()}


def _as_url(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
