"""Image judges over the features of a CLIP-shaped model: zero-shot tags, an MLP head, the embedding itself.

Dimensions: B images, E width of the features.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.core.errors import ModelError
from capfilt.models.formats.guarded import load_pickle, load_tensors
from capfilt.models.image_judges.prompt_sets import PromptSets, read_prompt_sets
from capfilt.models.judges.retrieval import EncodesApart
from capfilt.models.protocols import ImageInput, Judge

_LINEAR: Final = re.compile(r"(?:(?P<place>[\w.]*\d+)\.)?weight")


class FeatureJudge:
    """What image judges over features share; `model` is a judge with features of images and texts apart."""

    def __init__(self, name: str, digest: str, columns: Mapping[str, str], model: Judge) -> None:
        if not isinstance(model, EncodesApart):
            raise ModelError(f"image judge {name!r}: {model.name} has no feature of an image alone")
        self.name, self.digest, self.columns = name, digest, columns
        self.pixels = model.pixels
        self.model: EncodesApart = model

    @torch.inference_mode()
    def describe(self, images: ImageInput) -> dict[str, list[Any]]:
        """See `protocols.ImageJudge`."""
        assert isinstance(images, Tensor)  # a model with features sees squares
        return self.told(self.model.image_features(images).float())

    def told(self, features: Tensor) -> dict[str, list[Any]]:
        """What is told of features [B, E] of length 1."""
        raise NotImplementedError


class EmbeddingJudge(FeatureJudge):
    """`embedding`: the feature itself, of length 1."""

    def told(self, features: Tensor) -> dict[str, list[Any]]:
        """See `FeatureJudge`."""
        return {"embedding": features.half().cpu().tolist()}


class TagJudge(FeatureJudge):
    """`tags`: a score in 0..1 a tag; as uncalibrated as CLIP's cosines are.

    Softmax over two cosines, with the mean feature of the prompts and of those against (the prompt ensemble of CLIP,
    section 3.1.4).
    """

    def __init__(self, name: str, digest: str, columns: Mapping[str, str], model: Judge, file: str) -> None:
        super().__init__(name, digest, columns, model)
        self.sets: PromptSets = read_prompt_sets(file)
        self._directions = self._encode()

    @torch.inference_mode()
    def _encode(self) -> Tensor:
        """For each tag the feature of its prompts less that of those against, [tags, E]."""
        return torch.stack([self._mean(tag.prompts) - self._mean(tag.against) for tag in self.sets.tags])

    def _mean(self, texts: tuple[str, ...]) -> Tensor:
        return F.normalize(self.model.text_features(texts).float().mean(0), dim=0)

    def told(self, features: Tensor) -> dict[str, list[Any]]:
        """See `FeatureJudge`."""
        scores = torch.sigmoid(self.sets.scale * features @ self._directions.T).cpu().tolist()
        return {tag.name: [own[n] for own in scores] for n, tag in enumerate(self.sets.tags)}


class HeadJudge(FeatureJudge):
    """`head`: one number out of linear layers on the feature, as LAION's aesthetic predictors are published."""

    def __init__(self, name: str, digest: str, columns: Mapping[str, str], model: Judge, file: Path) -> None:
        super().__init__(name, digest, columns, model)
        self.layers = read_head(file)

    def told(self, features: Tensor) -> dict[str, list[Any]]:
        """See `FeatureJudge`."""
        states = features.cpu()
        for weight, bias in self.layers:
            states = states @ weight.T + bias
        return {"head": states[:, 0].tolist()}


def read_head(file: Path) -> list[tuple[Tensor, Tensor]]:
    """The linear layers of a head in order, each weight [out, in] and bias [out], the last with one output.

    `layers.0.weight`, `layers.2.weight`, ... as in LAION's improved aesthetic predictor, or one `weight`; in
    safetensors, or as pickled tensors (.pth). It has no activations, and dropout does nothing here.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """
    tensors = load_tensors([file]) if file.suffix == ".safetensors" else load_pickle(file)
    names = tensors.keys() if isinstance(tensors, dict) else ()
    found = [match for name in names if (match := _LINEAR.fullmatch(name))]
    ordered = sorted(found, key=lambda match: int((match["place"] or "0").rpartition(".")[2]))
    layers = []
    for match in ordered:
        weight, bias = tensors[match[0]], tensors.get(match[0].removesuffix("weight") + "bias")
        if not isinstance(weight, Tensor) or weight.dim() != 2 or not isinstance(bias, Tensor):
            raise ModelError(f"{file}: {match[0]} is no linear layer with a bias")
        layers.append((weight.float(), bias.float()))
    shapes = [tuple(weight.shape) for weight, _ in layers]
    fits = all(one[0] == next_[1] for one, next_ in pairwise(shapes))
    if not layers or not fits or shapes[-1][0] != 1 or len(tensors) != 2 * len(layers):
        raise ModelError(f"{file}: no head of linear layers that end in one number")
    return layers
