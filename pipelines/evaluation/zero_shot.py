"""Zero-shot classification: the class whose name, put in a text, is nearest to the image (CLIP, section 3.1).

Of several texts the mean of their features stands for a class (prompt ensembling, section 3.1.4).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from capfilt.core.config import Recipe
from capfilt.core.errors import ConfigError, InputError, ModelError
from capfilt.core.schema import ROWS
from capfilt.pipelines.evaluation.paired import PerQuery
from capfilt.pipelines.stages import stage_models
from capfilt.pipelines.stages.caption import alive, pixel_tensor
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.training_data.parquet_files import opened, parquet_files

if TYPE_CHECKING:
    from torch import Tensor

    from capfilt.models.judges.retrieval import EncodesApart

AT: Final = (1, 5)
"""Places of the accuracies."""

ROWS_AT_ONCE: Final = 128  # images that are decoded and encoded together
PLACE: Final = "{}"
"""Where a class name stands in a text."""


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """N images under a judge."""

    classes: tuple[str, ...]
    left_out: dict[str, int]  # images, by reason
    uids: tuple[str, ...]  # [N]
    labels: tuple[int, ...]  # the class of each image, [N]
    ranks: tuple[float, ...]  # where its class stands, 0 = first; amid classes of the same score, [N]

    def accuracy(self, at: int) -> float:
        """Share of the images whose class is among the first `at`."""
        return sum(rank < at for rank in self.ranks) / len(self.ranks)

    @property
    def queries(self) -> PerQuery:
        """For paired differences."""
        return PerQuery(uids=self.uids, hits=tuple(rank < 1 for rank in self.ranks))

    @property
    def class_mean(self) -> float:
        """Top-1 accuracy, averaged over the classes that have images: rare ones count like common ones."""
        right = Counter(label for label, rank in zip(self.labels, self.ranks, strict=True) if rank < 1)
        shares = [right[label] / count for label, count in Counter(self.labels).items()]
        return sum(shares) / len(shares)


def classify(locations: Sequence[str], recipe: Recipe, texts: Sequence[str], limit: int | None = None) -> ZeroShot:
    """Classify images by the recipe's judge.

    Args:
        locations: Parquet files or folders with `image` and `label`: a class name, or a ClassLabel of `datasets`.
        texts: of a class, each with `{}` for its name.
        limit: only so many images.

    Raises:
        ConfigError: a text without `{}`.
        InputError: no data, no label, or one class alone.
        ModelError: a judge that is missing, broken, or has no features for images and for texts.
    """
    if odd := next((text for text in texts if PLACE not in text), None):
        raise ConfigError(f"--classes {odd!r}: {{}} must stand where the class name goes")
    stage_models.check_models(recipe)
    judge = _judge(recipe)
    left_out: Counter[str] = Counter()
    names = _class_names(locations)
    if len(names) < 2:
        raise InputError(f"{' '.join(locations)}: column label has {len(names)} classes, at least 2 are needed")
    features = _class_features(judge, names, texts)
    numbers = {name: number for number, name in enumerate(names)}
    found = [
        one
        for part in _batches(locations, limit, left_out)
        for one in _ranked(judge, features, part, recipe, numbers, left_out)
    ]
    if not found:
        raise InputError(f"{' '.join(locations)}: no image can be used: {', '.join(left_out)}")
    uids, labels, ranks = zip(*found, strict=True)
    return ZeroShot(tuple(names), dict(left_out), uids, labels, ranks)


def _judge(recipe: Recipe) -> "EncodesApart":
    from capfilt.models.judges.retrieval import EncodesApart

    (judge,) = stage_models.load_judges(recipe)
    if not isinstance(judge, EncodesApart):
        raise ModelError(f"--classes: {judge.name} has no features of its own for images and for texts")
    return judge


def _class_features(judge: "EncodesApart", names: Sequence[str], texts: Sequence[str]) -> "Tensor":
    """[C, E] of length 1."""
    import torch
    from torch.nn import functional as F

    with torch.inference_mode():
        said = [judge.text_features([text.replace(PLACE, name) for name in names]).float() for text in texts]
        return F.normalize(torch.stack(said).mean(0), dim=-1)


def _ranked(
    judge: "EncodesApart",
    features: "Tensor",
    part: Sequence[tuple[bytes, str]],
    recipe: Recipe,
    numbers: dict[str, int],
    left_out: Counter[str],
) -> Iterator[tuple[str, int, float]]:
    """Of each image that can be used: its uid, its class, and where that stands among all."""
    import torch

    rows = decode(_table(part), recipe.decode, stage_models.pixels(recipe))
    left_out.update(reason for reason in rows["reason"].to_pylist() if reason)
    good = alive(rows)
    if not good:
        return
    with torch.inference_mode():
        pixels = pixel_tensor(rows, stage_models.pixels(recipe)[0], good)
        similarity = (judge.image_features(pixels).float() @ features.T).cpu()
    if not similarity.isfinite().all():
        raise ModelError(f"{judge.name} gives features that are no finite numbers: it is broken")
    for row, scores in zip(good, similarity, strict=True):
        label = numbers[part[row][1]]
        above, equal = int((scores > scores[label]).sum()), int((scores == scores[label]).sum()) - 1
        yield rows["uid"][row].as_py(), label, above + equal / 2


def _table(part: Sequence[tuple[bytes, str]]) -> pa.Table:
    uids = [hashlib.sha256(image).hexdigest()[:32] for image, _ in part]
    rows = [{"uid": uid, "source": "", "texts": [], "image": image} for uid, (image, _) in zip(uids, part, strict=True)]
    return pa.Table.from_pylist(rows, ROWS)


def _class_names(locations: Sequence[str]) -> list[str]:
    """The classes that images have, in order."""
    found: set[str] = set()
    for file in (file for location in locations for file in parquet_files(location)):
        with opened(file) as parquet:
            there = parquet.schema_arrow.names
            if missing := sorted({"image", "label"} - set(there)):
                raise InputError(f"{file}: no column {', '.join(missing)}; there are {', '.join(there)}")
            for batch in parquet.iter_batches(columns=["label"]):
                found.update(name for name in _labels(batch["label"], parquet.schema_arrow, file) if name)
    return sorted(found)


def _batches(locations: Sequence[str], limit: int | None, left_out: Counter[str]) -> Iterator[list[tuple[bytes, str]]]:
    """Bytes and class name of images, some at a time."""
    left = limit
    for file in (file for location in locations for file in parquet_files(location)):
        with opened(file) as parquet:
            for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=["image", "label"]):
                names = _labels(batch["label"], parquet.schema_arrow, file) if left != 0 else []
                part = []
                for image, name in zip(batch["image"].to_pylist() if names else [], names, strict=True):
                    image = image.get("bytes") if isinstance(image, dict) else image
                    if image is None or not name:
                        left_out["no image" if image is None else "no label"] += 1
                    else:
                        part.append((image, name))
                part = part[:left]
                left = None if left is None else left - len(part)
                if part:
                    yield part


def _labels(column: pa.Array, schema: pa.Schema, file: str) -> list[str | None]:
    """The class name of each image; numbers are those of `datasets`, which leaves their names in the file.

    Raises:
        InputError: numbers without names, or labels of another kind.
    """
    kind = schema.field("label").type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [value or None for value in column.to_pylist()]
    told: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names: Any = told.get("info", {}).get("features", {}).get("label", {}).get("names")
    if not pa.types.is_integer(kind) or not names:
        raise InputError(f"{file}: column label is {kind}, not a class name or a ClassLabel of datasets with its names")
    # `datasets` numbers an image without a label -1.
    return [None if value is None or value < 0 else str(names[value]) for value in column.to_pylist()]
