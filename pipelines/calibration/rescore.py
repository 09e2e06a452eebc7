"""Scores for texts that a run did not score: its own judges look again, at its own images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from capfilt.core.config import DecodeSettings, EngineSettings, Recipe, ScoreSettings
from capfilt.core.errors import ChangedError
from capfilt.core.schema import ROWS, candidate_type
from capfilt.ledger.layers import Layer
from capfilt.ledger.layers_of_run import layers_of
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.stages.caption import CANDIDATES
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.score import score
from capfilt.pipelines.stages.stage_models import placement

if TYPE_CHECKING:
    from capfilt.models.protocols import Judge

TOGETHER: Final = 64
"""Images decoded at a time."""

Scores = dict[str, float | None]
Said = tuple[str, list[float] | None]
"""A text, and the `schema.BOX` of what it is about; None = the whole image."""


def load_judges(ledger: Ledger) -> "list[Judge]":
    """The judges of the run, and those of its layers.

    Raises:
        ModelError: a checkpoint is not there any more.
        ChangedError: a judge has other weights than when the run was made.
    """
    from capfilt.models.registry import registry

    run = ledger.run
    settings = ScoreSettings.model_validate(run["recipe"]["score"])
    engine = EngineSettings.model_validate(run["recipe"]["engine"])
    for name in settings.judges:
        if registry.check(name, "filter") != run["models"].get(f"filter {name}"):
            raise ChangedError(f"filter {name}: its weights are not those that scored {ledger.folder.location}")
    place = registry.Placement(
        device=engine.device, dtype=engine.dtype, token=settings.token, sentences=settings.sentences
    )
    own = [registry.load_judge(name, place) for name in settings.judges]
    return [*own, *(_layer_judge(layer) for layer in layers_of(ledger.folder, "texts"))]


def _layer_judge(layer: Layer) -> "Judge":
    from capfilt.models.registry import registry

    name, recipe = layer.facts["annotator"], Recipe.model_validate(layer.facts["recipe"])
    if registry.check(name, "filter") not in layer.facts["models"].values():
        raise ChangedError(f"filter {name}: its weights are not those of layer {layer.name}")
    return registry.load_judge(name, placement(recipe))


def score_texts(
    pictures: Iterable[tuple[str, bytes]],
    texts: Mapping[str, Sequence[Said]],
    settings: DecodeSettings,
    judges: "Sequence[Judge]",
) -> Iterator[tuple[str, list[Scores] | None]]:
    """The key of every image, and the scores of its texts by column; None for an image that cannot be used.

    Args:
        images: key and bytes.
        texts: of every key.
    """
    stream = iter(pictures)
    while part := list(islice(stream, TOGETHER)):
        rows = decode(_rows(part), settings, list(dict.fromkeys(judge.pixels for judge in judges)))
        living = [reason is None for reason in rows["reason"].to_pylist()]
        said = [_candidates(texts[key]) if alive else [] for (key, _), alive in zip(part, living, strict=True)]
        rows = rows.append_column(CANDIDATES, pa.array(said, pa.list_(candidate_type(()))))
        scored = score(rows, judges)
        columns = [name for judge in judges for name in judge.columns]
        for row in scored.select(["uid", "reason", CANDIDATES]).to_pylist():
            scores = [{name: candidate[name] for name in columns} for candidate in row[CANDIDATES] or []]
            yield row["uid"], scores if row["reason"] is None else None


def _rows(pictures: Sequence[tuple[str, bytes]]) -> pa.Table:
    rows = [{"uid": key, "source": key, "texts": [], "image": data} for key, data in pictures]
    return pa.Table.from_pylist(rows, schema=ROWS)


def _candidates(texts: Sequence[Said]) -> list[dict[str, Any]]:
    fixed = {"source": "other", "round": 0, "flags": []}
    return [{"candidate": number, "text": text, "box": box} | fixed for number, (text, box) in enumerate(texts)]
