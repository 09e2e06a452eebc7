"""Captioner and judges on a few files, through the same stages as in a run, but without Ray and without a folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from capfilt.core.config import DecodeSettings, Recipe
from capfilt.core.errors import InputError
from capfilt.core.schema import ROWS
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.stages import stage_models
from capfilt.pipelines.stages.caption import CANDIDATES, caption, pixel_tensor
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.micro_batches import MicroBatches
from capfilt.pipelines.stages.score import columns_of, score

if TYPE_CHECKING:
    from capfilt.models.protocols import Captioner, Judge

Named = tuple[str, bytes]
"""What an error calls an image, and the bytes of its image file."""


def caption_files(paths: Sequence[Path], recipe: Recipe) -> list[list[dict[str, Any]]]:
    """The captions of each image, as candidates (`schema.CANDIDATE`).

    Raises:
        InputError: a file that is not there or is no image, or an image that the captioner cannot take.
        ModelError: see `stage_models.check_models` and `stage_models.load_captioners`.
    """
    pictures = [_read(path) for path in paths]
    stage_models.check_models(recipe)
    rows = picture_rows(pictures, (), recipe)  # first, because it is cheap beside loading a model
    return caption_rows(rows, stage_models.load_captioners(recipe), recipe)


def score_texts(path: Path, texts: Sequence[str], recipe: Recipe) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The judges' columns, and the texts as candidates with a score in each.

    Raises:
        InputError: a file that is not there or is no image, or an image that a judge cannot take.
        ModelError, ConfigError: see `stage_models.check_models`.
    """
    picture = _read(path)
    stage_models.check_models(recipe)
    rows = picture_rows([picture], texts, recipe)
    judges = stage_models.load_judges(recipe)
    return columns_of(judges), score_rows(rows, judges, recipe)[0]


def answer_questions(path: Path, questions: Sequence[str], model: Path) -> list[str]:
    """The answers of a VQA checkpoint to questions about one image.

    Raises:
        InputError: a file that is not there or is no image.
        ModelError: no checkpoint of `capfilt train vqa`.
    """
    from capfilt.models.formats.vqa import load_vqa

    answerer = load_vqa(model)
    pixels = PixelSpec(answerer.model.config.image_size)
    rows = _decoded([_read(path)], (), DecodeSettings(), [pixels])
    return answerer.generate(pixel_tensor(rows, pixels, [0] * len(questions)), questions)


def picture_rows(pictures: Sequence[Named], texts: Sequence[str], recipe: Recipe) -> pa.Table:
    """Decoded rows of images, each with these texts.

    Raises:
        InputError: what is no image.
    """
    return _decoded(pictures, texts, recipe.decode, stage_models.pixels(recipe))


def caption_rows(rows: pa.Table, captioners: "Sequence[Captioner]", recipe: Recipe) -> list[list[dict[str, Any]]]:
    """Captions of each of `picture_rows`, as candidates, by captioners that were loaded.

    Raises:
        InputError: an image that a captioner cannot take.
    """
    return _candidates(caption(rows, captioners, recipe.caption, _batches(captioners, recipe)))


def score_rows(rows: pa.Table, judges: "Sequence[Judge]", recipe: Recipe) -> list[list[dict[str, Any]]]:
    """The texts of each of `picture_rows` as candidates with a score of each judge, which were loaded.

    Raises:
        InputError: an image that a judge cannot take.
    """
    return _candidates(score(caption(rows, (), recipe.caption), judges, _batches(judges, recipe)))


def _candidates(rows: pa.Table) -> list[list[dict[str, Any]]]:
    _check(rows)
    found: list[list[dict[str, Any]]] = rows[CANDIDATES].to_pylist()
    return found


def _decoded(
    pictures: Sequence[Named], texts: Sequence[str], settings: DecodeSettings, pixels: Sequence[PixelSpec]
) -> pa.Table:
    given = [{"text": text, "source": "human"} for text in texts]
    values = [
        {"uid": hashlib.sha256(data).hexdigest()[:32], "source": name, "texts": given, "image": data}
        for name, data in pictures
    ]
    rows = decode(pa.Table.from_pylist(values, ROWS), settings, pixels)
    _check(rows)
    return rows


def _batches(models: "Sequence[Captioner | Judge]", recipe: Recipe) -> list[MicroBatches]:
    return [MicroBatches(stage_models.batch_size(recipe)) for _ in models]


def _read(path: Path) -> Named:
    try:
        return str(path), path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _check(rows: pa.Table) -> None:
    for source, reason, detail in zip(
        *(rows[name].to_pylist() for name in ("source", "reason", "detail")), strict=True
    ):
        if reason is not None:
            raise InputError(f"{source}: {reason} ({detail})")
