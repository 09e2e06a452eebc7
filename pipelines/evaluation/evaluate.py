"""A captioner and a judge on images that people described: what `capfilt evaluate` tells.

| measure | of | what |
|---|---|---|
| BLEU-4, CIDEr | captioner | the likeliest caption (greedy, or of caption.beams) against all human ones |
| diversity | captioner | captions drawn as CapFilt draws them, one an image, and human ones beside |
| AUC | judge, a score | a human caption over a text that people marked as wrong |
| TR, IR at 1, 5, 10 | judge: a MED or dual encoder | a right text of every image, the image of every text |
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from capfilt.core.config import Recipe
from capfilt.core.errors import InputError, ModelError
from capfilt.core.schema import ROWS
from capfilt.models.training.checks import NOTABLE
from capfilt.pipelines.calibration.curves import labeled, sweep
from capfilt.pipelines.evaluation.captions import bleu, cider_by_image, diversity, words
from capfilt.pipelines.evaluation.paired import PerQuery
from capfilt.pipelines.stages import stage_models
from capfilt.pipelines.stages.caption import CANDIDATES, alive, caption, pixel_tensor
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.micro_batches import MicroBatches
from capfilt.pipelines.stages.score import columns_of, score
from capfilt.pipelines.training_data.pairs import check_captions
from capfilt.pipelines.training_data.parquet_files import opened, parquet_files

if TYPE_CHECKING:
    from torch import Tensor

    from capfilt.models.protocols import Captioner, Judge

AT: Final = (1, 5, 10)
"""Places of R@k."""

ROWS_AT_ONCE: Final = 128  # images that are decoded, captioned and scored together
GREEDY: Final = 1e-6
"""The nucleus of the likeliest token alone."""

Metrics = dict[str, float]
Ranked = dict[str, list[float]]
"""Ranks of the queries of retrieval, 0 = first: "tr" of images, "ir" of texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was found; a dictionary without entries was not asked for, or cannot be measured."""

    pictures: int
    texts: int  # human captions
    wrong: int  # texts that people marked as wrong
    left_out: dict[str, int]  # images, by reason
    captions: Metrics
    drawn: Metrics  # diversity of the captioner's
    human: Metrics  # diversity of people's, one caption an image too
    auc: Metrics
    retrieval: Metrics
    notes: tuple[str, ...]  # why something is missing, or says little
    queries: PerQuery = field(default_factory=PerQuery)


@dataclass(slots=True)
class _Collected:
    """What one pass over the images collects."""

    uids: list[str] = field(default_factory=list)
    references: list[list[str]] = field(default_factory=list)
    likeliest: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    image: list[int] = field(default_factory=list)  # of each text of `right`
    scores: dict[str, list[float]] = field(default_factory=dict)
    pixels: "list[Tensor]" = field(default_factory=list)  # of the judge, batch by batch
    left_out: Counter[str] = field(default_factory=Counter)


def evaluate(locations: Sequence[str], recipe: Recipe, limit: int | None = None, candidates: int = 32) -> Evaluation:
    """Measure the recipe's first captioner and its first judge, where there are any.

    Args:
        locations: Parquet files or folders with `image`, `captions` (those of source human count) and maybe `wrong`.
        limit: only so many images.
        candidates: of retrieval, that ITM puts in order.

    Raises:
        InputError: no data, or none with human captions.
        ModelError: a model that is missing, broken or of the wrong role.
    """
    stage_models.check_models(recipe)
    collected = _Collected()
    tables = _tables(locations, limit, collected.left_out)
    first = next(tables, None)
    if first is None:
        raise InputError(f"{' '.join(locations)}: no image has a human caption")
    captioners, judges = stage_models.load_captioners(recipe)[:1], stage_models.load_judges(recipe)[:1]
    for rows in (first, *tables):
        _take(rows, captioners, judges, recipe, collected)
    if not collected.references:
        raise InputError(f"{' '.join(locations)}: no image can be used: {', '.join(collected.left_out)}")
    texts = [text for own in collected.references for text in own]
    owner = [number for number, own in enumerate(collected.references) for _ in own]
    _check_finite(collected.scores)
    ranks = _ranks(judges, collected, texts, owner, candidates)
    compared = captioners and len(collected.references) > 1
    ciders = cider_by_image(collected.likeliest, collected.references) if compared else []
    return Evaluation(
        pictures=len(collected.references),
        texts=len(texts),
        wrong=len(collected.right) - sum(collected.right) if judges else 0,
        left_out=dict(collected.left_out),
        captions={"bleu_4": bleu(collected.likeliest, collected.references), "cider": float(np.mean(ciders))}
        if compared
        else {},
        drawn=diversity(collected.drawn) if captioners else {},
        human=diversity([own[0] for own in collected.references]),
        auc=_auc(collected),
        retrieval={f"{side}_{at}": float(np.mean(np.array(some) < at)) for side, some in ranks.items() for at in AT},
        notes=tuple(_notes(collected, captioners, judges)),
        queries=PerQuery(
            uids=tuple(collected.uids),
            ranks=ranks,
            owner=tuple(owner),
            cider=tuple(ciders),
            scores=collected.scores,
            right=tuple(collected.right),
            image=tuple(collected.image),
        ),
    )


def _check_finite(scores: dict[str, list[float]]) -> None:
    """Raise a `ModelError` that names a score and how many texts it is no finite number for."""
    for column, values in scores.items():
        if odd := sum(not math.isfinite(value) for value in values):
            raise ModelError(f"{column} is no finite number for {odd} of {len(values)} texts: the judge is broken")


def _notes(collected: _Collected, captioners: "Sequence[Captioner]", judges: "Sequence[Judge]") -> Iterator[str]:
    """What a reader would otherwise wonder about."""
    from capfilt.models.judges.retrieval import EncodesApart

    if captioners and len(collected.references) == 1:
        yield "BLEU and CIDEr compare images with each other, and say nothing of one image"
    if captioners:
        yield from _captioner_notes(collected)
    for column, values in collected.scores.items():
        if len(values) > 1 and len(set(values)) == 1:
            yield f"{column} is {values[0]:g} for every text: it tells nothing apart"
    if judges and (all(collected.right) or not any(collected.right)):
        yield "no AUC: no text is marked as wrong (column wrong)"
    if judges and not isinstance(judges[0], EncodesApart):
        yield f"no retrieval: {judges[0].name} has no features of its own for images and for texts"
    elif judges:
        yield from _retrieval_notes(collected.references)
    if judges:
        yield from _reading_notes(judges[0], [text for own in collected.references for text in own])


def _captioner_notes(collected: _Collected) -> Iterator[str]:
    written = {word for text in collected.likeliest for word in words(text)}
    human = {word for own in collected.references for text in own for word in words(text)}
    if not written:
        yield "the captioner wrote no word"
    elif not written & human:
        yield "BLEU-4 and CIDEr are 0: no word stands in a caption and in a human one; is it another language?"


def _retrieval_notes(references: Sequence[Sequence[str]]) -> Iterator[str]:
    """Where any judge, a blind one too, finds all."""
    if len({frozenset(own) for own in references}) == 1:
        yield "retrieval says nothing: every text is right for every image"
    elif len(references) <= AT[-1]:
        at = next(at for at in AT if at >= len(references))
        yield f"IR R@{at} says nothing of {len(references)} images: all are among the first {at}"


def _reading_notes(judge: "Judge", texts: Sequence[str]) -> Iterator[str]:
    """What of the texts the judge does not read."""
    from capfilt.models.judges.med import MedJudge
    from capfilt.models.protocols import TruncatingJudge

    if isinstance(judge, MedJudge) and (share := judge.tokenizer.unknown_share(texts)) > NOTABLE:
        yield f"{share:.0%} of the texts is unknown to the vocabulary of {judge.name}"
    if isinstance(judge, TruncatingJudge) and (cut := sum(map(judge.cuts, texts))):
        yield f"{cut} of {len(texts)} texts are longer than {judge.name} reads"


def _tables(locations: Sequence[str], limit: int | None, left_out: Counter[str]) -> Iterator[pa.Table]:
    """`schema.ROWS` of images with human captions; a text marked as wrong stands as one of the web."""
    left = limit
    for file in (file for location in locations for file in parquet_files(location)):
        with opened(file) as parquet:
            names = parquet.schema_arrow.names
            if missing := sorted({"image", "captions"} - set(names)):
                raise InputError(f"{file}: no column {', '.join(missing)}; there are {', '.join(names)}")
            check_captions(parquet.schema_arrow, "captions", file)
            columns = [name for name in ("image", "captions", "wrong") if name in names]
            for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=columns):
                read = [_row(row) for row in batch.to_pylist()] if left != 0 else []
                rows = [row for row in read if not isinstance(row, str)][:left]
                left_out.update(row for row in read if isinstance(row, str))
                left = None if left is None else left - len(rows)
                if rows:
                    yield pa.Table.from_pylist(rows, ROWS)


def _row(found: dict[str, Any]) -> dict[str, Any] | str:
    """A row, or why there is none."""
    given = [c for c in found["captions"] or () if c and c["source"] == "human"]
    own = [{"text": c["text"], "source": "human"} for c in given if c["text"] and c["text"].strip()]
    image = found["image"].get("bytes") if isinstance(found["image"], dict) else found["image"]
    if not own:
        return "no human caption"
    if image is None:
        return "no image"
    wrong = [{"text": text, "source": "web"} for text in found.get("wrong") or () if text and text.strip()]
    # By its bytes: the seed of a drawn caption comes from the uid.
    return {"uid": hashlib.sha256(image).hexdigest()[:32], "source": "", "texts": own + wrong, "image": image}


def _take(
    rows: pa.Table, captioners: "Sequence[Captioner]", judges: "Sequence[Judge]", recipe: Recipe, collected: _Collected
) -> None:
    rows = decode(rows, recipe.decode, stage_models.pixels(recipe))
    batches = MicroBatches(stage_models.batch_size(recipe))
    if captioners:
        own = recipe.caption.model_copy(update={"n": 1})
        drawn = caption(rows, captioners, own.model_copy(update={"beams": 0}), [batches])
        # Without beams greedily: top_k and the penalty stay as the recipe has them.
        rows = caption(rows, captioners, own.model_copy(update={"top_p": GREEDY}), [batches])
        dead = [
            one or other for one, other in zip(drawn["reason"].to_pylist(), rows["reason"].to_pylist(), strict=True)
        ]
        drawn_texts = [_texts(row, "synthetic") for row in drawn[CANDIDATES].to_pylist()]
    else:
        rows = caption(rows, (), recipe.caption)
        drawn_texts = [[]] * len(rows)
        dead = rows["reason"].to_pylist()
    rows = score(rows, judges, [batches for _ in judges])
    dead = [one or other for one, other in zip(dead, rows["reason"].to_pylist(), strict=True)]
    collected.left_out.update(reason for reason in dead if reason)
    good = [row for row in alive(rows) if not dead[row]]
    for row in good:
        candidates = rows[CANDIDATES][row].as_py()
        collected.uids.append(rows["uid"][row].as_py())
        collected.references.append(_texts(candidates, "human"))
        collected.likeliest += _texts(candidates, "synthetic")
        collected.drawn += drawn_texts[row]
        given = [c for c in candidates if c["source"] != "synthetic"]
        collected.right += [c["source"] == "human" for c in given]
        collected.image += [len(collected.references) - 1] * len(given)
        for column in columns_of(judges):
            collected.scores.setdefault(column, []).extend(c[column] for c in given)
    if good and judges:
        collected.pixels.append(pixel_tensor(rows, judges[0].pixels, good))


def _texts(candidates: Iterable[dict[str, Any]], source: str) -> list[str]:
    return [c["text"] for c in candidates if c["source"] == source]


def _auc(collected: _Collected) -> Metrics:
    """The chance that a right text scores above a wrong one, by score."""
    right = np.array(collected.right)
    if not right.any() or right.all():
        return {}
    return {
        column: float(sweep(np.array(scores, np.float64), labeled(right)).auc)
        for column, scores in collected.scores.items()
    }


def _ranks(
    judges: "Sequence[Judge]", collected: _Collected, texts: list[str], owner: list[int], candidates: int
) -> Ranked:
    if not judges:
        return {}
    from capfilt.models.judges.retrieval import EncodesApart, rank

    judge = judges[0]
    if not isinstance(judge, EncodesApart):
        return {}
    ranks = rank(judge, lambda: collected.pixels, texts, owner, candidates)
    return {"tr": ranks.of_images.tolist(), "ir": ranks.of_texts.tolist()}
