"""A captioner that fails on demand, as a captioner of a person's own: `caption.captioner = "python:faulty:Faulty"`.

It is a small MED that looks into a folder of tokens before each batch. A token is a file called `KIND-...`; whoever
deletes it performs it, once. Rows whose pixels are those of the file `poison` kill the process, every time.
"""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from capfilt.models.med.config import SIZES
from capfilt.models.pixels import PixelSpec
from capfilt.models.registry import registry

if TYPE_CHECKING:
    from torch import Tensor

    from capfilt.models.protocols import Caption, Decoding

FOLDER = "CAPFILT_FAULTS"
"""Environment variable: a folder with `checkpoint/`, `tokens/` and perhaps `poison`."""
KINDS = ("raise", "memory", "few", "segfault")


class Faulty:
    """See above."""

    name = "faulty"
    digest = "0" * 12
    pixels = PixelSpec(SIZES["med-tiny"].image_size, "squash")

    def __init__(self, placement: registry.Placement) -> None:
        self.folder = Path(os.environ[FOLDER])
        self.inner = registry.load_captioner(str(self.folder / "checkpoint"), placement)

    def caption(
        self, images: "Tensor", seeds: list[list[int]], prompt: str, decoding: "Decoding"
    ) -> "list[list[Caption]]":
        import torch  # here: a driver names this module without captioning

        poison = self.folder / "poison"
        if poison.exists() and any(bytes(image.numpy().tobytes()) == poison.read_bytes() for image in images):
            os.kill(os.getpid(), signal.SIGSEGV)
        kind = self._claim()
        if kind == "raise":
            raise RuntimeError("on demand")
        if kind == "memory":
            raise torch.OutOfMemoryError("on demand")
        if kind == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        captions = self.inner.caption(images, seeds, prompt, decoding)
        return captions[:-1] if kind == "few" else captions

    def _claim(self) -> str:
        """The kind of a token that this process got hold of."""
        for token in sorted((self.folder / "tokens").iterdir()):
            try:
                token.unlink()
            except FileNotFoundError:
                continue  # another actor was faster
            return token.name.partition("-")[0]
        return ""
