"""Who can caption and who can judge: one line each. Free of torch until a model is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from capfilt.errors import ModelError
from capfilt.models.checkpoint import CONFIG, describe, digest
from capfilt.models.pixels import PixelSpec

if TYPE_CHECKING:
    import torch

    from capfilt.models.protocols import Captioner, Judge

CHECKPOINTS: Final = Path(__file__).parent / "checkpoints"

Role = Literal["captioner", "filter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and how a model runs."""

    device: str = "auto"  # auto = cuda, then mps, then cpu
    dtype: str = "auto"  # auto = bfloat16 on cuda, float32 elsewhere
    token: Literal["enc", "cls"] = "enc"  # first token of ITM

    def resolve(self) -> "tuple[str, torch.dtype]":
        """The torch device and dtype.

        Raises:
            ModelError: a device this machine does not have.
        """
        import torch

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelError(f"engine.device = {device!r}: this machine has no CUDA device")
        name = self.dtype if self.dtype != "auto" else "bfloat16" if device.startswith("cuda") else "float32"
        return device, getattr(torch, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What `capfilt models` says of a model."""

    name: str
    role: Role
    about: str
    parameters: str
    licence: str
    source: str


CARDS: Final = {
    card.name: card
    for card in (
        ModelCard(
            name="demo-captioner",
            role="captioner",
            about="med-tiny for the demo world's pictures; nonsense on photographs",
            parameters="2.0 M",
            licence="Apache-2.0",
            source="ships with capfilt",
        ),
        ModelCard(
            name="demo-filter",
            role="filter",
            about="med-tiny for the demo world's pictures; itm and itc",
            parameters="2.0 M",
            licence="Apache-2.0",
            source="ships with capfilt",
        ),
    )
}


def locate(name_or_dir: str) -> Path:
    """The directory of a checkpoint.

    Raises:
        ModelError: neither a known name nor a directory with a `config.json`.
    """
    if name_or_dir in CARDS:
        return CHECKPOINTS / name_or_dir
    folder = Path(name_or_dir).expanduser()
    if not (folder / CONFIG).is_file():
        raise ModelError(f"model {name_or_dir!r} is neither one of {', '.join(CARDS)} nor a directory with a {CONFIG}")
    return folder


def check(name_or_dir: str, role: Role) -> str:
    """Make sure, before any work, that a checkpoint is whole and of the role asked for; its digest.

    Raises:
        ModelError: one line that names the checkpoint and what is wrong.
    """
    folder = locate(name_or_dir)
    roles = describe(folder).roles
    if role not in roles:
        raise ModelError(f"model {name_or_dir!r} was trained as {' and '.join(roles) or 'nothing'}, not as {role}")
    return digest(folder)


def pixels(name_or_dir: str) -> PixelSpec:
    """What pixels a model wants, without loading it."""
    return PixelSpec(describe(locate(name_or_dir)).config.image_size, "squash")


def load_captioner(name_or_dir: str, placement: Placement | None = None) -> "Captioner":
    """Load a captioner; the expensive part of an actor's start."""
    from capfilt.models.captioners import MedCaptioner
    from capfilt.models.weights import load_med

    identity = check(name_or_dir, "captioner")
    device, dtype = (placement or Placement()).resolve()
    return MedCaptioner(_short(name_or_dir), identity, *load_med(locate(name_or_dir), dtype, device))


def load_judge(name_or_dir: str, placement: Placement | None = None) -> "Judge":
    """Load a judge."""
    from capfilt.models.judges import MedJudge
    from capfilt.models.weights import load_med

    placement = placement or Placement()
    identity = check(name_or_dir, "filter")
    device, dtype = placement.resolve()
    return MedJudge(_short(name_or_dir), identity, *load_med(locate(name_or_dir), dtype, device), placement.token)


def _short(name_or_dir: str) -> str:
    return Path(name_or_dir).name
