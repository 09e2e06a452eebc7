"""What is known of a model before it is loaded. Free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from capfilt.models.formats.open_clip_source import OpenClipSource
from capfilt.models.pixels import PixelSpec
from capfilt.models.score_columns import FAMILY_COLUMNS

Role = Literal["captioner", "filter"]
Family = Literal["med", "qformer", "vlm", "open_clip", "dual", "blip2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model that `registry.resolve` found: where it is, what it can do, and which pixels it wants."""

    name: str  # as a person wrote it
    family: Family
    folder: Path
    roles: tuple[str, ...]
    pixels: PixelSpec
    files: tuple[Path, ...]  # what its digest is made of
    open_clip: OpenClipSource | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The scores it gives; () where it is no judge."""
        return FAMILY_COLUMNS.get(self.family, ()) if "filter" in self.roles else ()
