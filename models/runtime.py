"""Where and how models run. Free of torch until a device is asked for."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from capfilt.core.clients.endpoint import Endpoint
from capfilt.core.errors import ModelError

if TYPE_CHECKING:
    import torch

    from capfilt.models.shots import Shot


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a model is not told by its own files."""

    device: str = "auto"  # auto = cuda, then mps, then cpu
    dtype: str = "auto"  # auto = bfloat16 on cuda, float32 elsewhere
    compile: bool = False  # the image tower of a MED, by torch.compile
    token: Literal["enc", "cls"] = "enc"  # first token of ITM
    sentences: bool = False  # judges score the sentences of a text too
    tags: str = ""  # file of the prompt sets that `tags:MODEL` looks for; "" = those that ship
    head: str = ""  # file of the layers that `head:MODEL` puts on the feature
    max_side: int = 768  # pixels of the longer side that captioners of images of any shape are shown
    shots: "tuple[Shot, ...]" = ()  # examples before each image
    template: str = ""  # chat template (Jinja); "" = the model's own, "none" = the bare prompt
    endpoint: Endpoint = field(default_factory=Endpoint)

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
