"""Does a model do its work? Asked before a run is planned or its first image is seen, on two plain images.

A BLIP that was pretrained but not fine-tuned to caption says "dai dai dai" to everything, and nothing in its files
tells it from one that was. A chat model may lack its template, a server may refuse every question, weights may be NaN.
It costs one batch of two images.
"""

import math
import re
from typing import Final

import torch
from torch import Tensor, nn

from capfilt.core.errors import ModelError
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Captioner, Decoding, ImageInput, ImageJudge, Judge

_ONE_UNIT: Final = re.compile(r"(.{1,24}?)\1{2,}")


def probe_captioner(captioner: Captioner, prompt: str, decoding: Decoding) -> None:
    """Let a captioner describe two plain images.

    Raises:
        ModelError: it cannot, or says one word over and over to both; one line that names it.
    """
    try:
        captions = captioner.caption(plain_images(captioner.pixels), [[1], [2]], prompt, decoding)
    except ModelError:
        raise
    except Exception as error:  # of whatever library runs it
        said = f"captioner {captioner.name!r} cannot caption a plain image"
        if _is_broken(getattr(captioner, "model", None)):
            raise ModelError(f"{said}: its weights are no finite numbers") from error
        hint = "; it has no chat template: set caption.template" if getattr(captioner, "template", None) == "" else ""
        raise ModelError(f"{said}: {_line(error)}{hint}") from error
    texts = [own[0].text for own in captions]
    # Both must repeat: a good captioner may stumble over one of two plain drawings.
    if all(map(is_one_word_again_and_again, texts)):
        raise ModelError(
            f"captioner {captioner.name!r} writes {texts[0][:40]!r} for a plain image: "
            "it was pretrained, or trained for something else, but not to caption"
        )


def probe_judge(judge: Judge) -> None:
    """Let a judge score three texts of two plain images.

    Raises:
        ModelError: it cannot, or gives a score that is no finite number; one line that names it.
    """
    images = plain_images(judge.pixels)
    assert isinstance(images, Tensor)
    try:
        scores = judge.score(images, [["a red square"], ["a green field under a blue sky", "two people"]])
    except ModelError:
        raise
    except Exception as error:  # of whatever library runs it
        raise ModelError(f"judge {judge.name!r} cannot score a plain image: {_line(error)}") from error
    for column in judge.columns:
        values = [value for own in scores[column] for value in own]
        if odd := [value for value in values if not math.isfinite(value)]:
            raise ModelError(f"judge {judge.name!r} gives {column} = {odd[0]} to a plain image: its weights are broken")


def probe_image_judge(judge: ImageJudge) -> None:
    """Let an image judge describe two plain images.

    Raises:
        ModelError: it cannot, gives an infinite number or an embedding of another size; one line that names it.
    """
    try:
        told = judge.describe(plain_images(judge.pixels))
    except ModelError:
        raise
    except Exception as error:  # of whatever library runs it
        raise ModelError(f"image judge {judge.name!r} cannot describe a plain image: {_line(error)}") from error
    for column, kind in judge.columns.items():
        for value in told[column]:
            numbers = value if isinstance(value, list) else [value]
            if not all(math.isfinite(one) for one in numbers if isinstance(one, float)):
                raise ModelError(f"image judge {judge.name!r} gives no finite {column} of a plain image")
            if kind.startswith("halffloat[") and kind != f"halffloat[{len(numbers)}]":
                raise ModelError(f"image judge {judge.name!r}: {column} has {len(numbers)} numbers, not {kind}")


def _is_broken(model: object) -> bool:
    """Whether weights of a model are NaN or infinite."""
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    return any(not bool(weight.isfinite().all()) for weight in weights if not weight.is_meta)


def _line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0] if said else ''}"


def is_one_word_again_and_again(text: str) -> bool:
    """Whether the whole text is one word or syllable, three times or more."""
    return bool(_ONE_UNIT.fullmatch("".join(text.split())))


def plain_images(spec: PixelSpec) -> ImageInput:
    """A red square on white, and a green ground under a blue sky."""
    width, height = spec.shape(spec.size, spec.size)
    square = torch.full((height, width, 3), 255, dtype=torch.uint8)
    square[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = torch.tensor([220, 30, 30], dtype=torch.uint8)
    horizon = torch.zeros(height, width, 3, dtype=torch.uint8)
    horizon[: height // 2] = torch.tensor([90, 160, 230], dtype=torch.uint8)
    horizon[height // 2 :] = torch.tensor([60, 140, 50], dtype=torch.uint8)
    pictures: list[Tensor] = [square, horizon]
    return pictures if spec.mode == "fit" else torch.stack(pictures)
