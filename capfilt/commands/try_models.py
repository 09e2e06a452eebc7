"""Captioner and judges on a few files, through the same stages as in a run, but without Ray and without a folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def caption_files(paths: Sequence[Path], recipe: Recipe) -> list[list[dict[str, Any]]]:
    """The captions of each picture, as candidates (`schema.CANDIDATE`).

    Raises:
        InputError: a file that is not there or is no picture, or a picture that the captioner cannot take.
        ModelError: see `stage_models.check_models` and `stage_models.load_captioners`.
    """
    rows = _read(paths, (), recipe)
    captioners = stage_models.load_captioners(recipe)
    batches = [MicroBatches(stage_models.batch_size(recipe)) for _ in captioners]
    captioned = caption(rows, captioners, recipe.caption, batches)
    _check(captioned)
    found: list[list[dict[str, Any]]] = captioned[CANDIDATES].to_pylist()
    return found


def score_texts(path: Path, texts: Sequence[str], recipe: Recipe) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The judges' columns, and the texts as candidates with a score in each.

    Raises:
        InputError: a file that is not there or is no picture, or a picture that a judge cannot take.
        ModelError, ConfigError: see `stage_models.check_models`.
    """
    rows = caption(_read([path], texts, recipe), (), recipe.caption)
    judges = stage_models.load_judges(recipe)
    scored = score(rows, judges, [MicroBatches(stage_models.batch_size(recipe)) for _ in judges])
    _check(scored)
    return columns_of(judges), scored[CANDIDATES].to_pylist()[0]


def answer_questions(path: Path, questions: Sequence[str], model: Path) -> list[str]:
    """The answers of a VQA checkpoint to questions about one image.

    Raises:
        InputError: a file that is not there or is no image.
        ModelError: no checkpoint of `capfilt train vqa`.
    """
    from capfilt.models.formats.vqa import load_vqa

    answerer = load_vqa(model)
    pixels = PixelSpec(answerer.model.config.image_size)
    rows = decode(pa.Table.from_pylist([_row(path, ())], ROWS), DecodeSettings(), [pixels])
    _check(rows)
    return answerer.generate(pixel_tensor(rows, pixels, [0] * len(questions)), questions)


def _read(paths: Sequence[Path], texts: Sequence[str], recipe: Recipe) -> pa.Table:
    """Checked first, because it is cheap: the files, then the models."""
    values = [_row(path, texts) for path in paths]
    stage_models.check_models(recipe)
    rows = decode(pa.Table.from_pylist(values, ROWS), recipe.decode, stage_models.pixels(recipe))
    _check(rows)
    return rows


def _row(path: Path, texts: Sequence[str]) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    given = [{"text": text, "source": "human"} for text in texts]
    return {"uid": hashlib.sha256(data).hexdigest()[:32], "source": str(path), "texts": given, "image": data}


def _check(rows: pa.Table) -> None:
    for source, reason, detail in zip(
        *(rows[name].to_pylist() for name in ("source", "reason", "detail")), strict=True
    ):
        if reason is not None:
            raise InputError(f"{source}: {reason} ({detail})")
