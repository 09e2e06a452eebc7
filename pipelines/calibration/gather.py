"""The pairs to measure on, labeled or made, with the scores of every judge."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from capfilt.core import duckdb_sandbox, schema
from capfilt.core.config import DecodeSettings
from capfilt.core.errors import InputError
from capfilt.ledger.image_reader import read_images
from capfilt.ledger.joined import captions, captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.labels import Label
from capfilt.pipelines.calibration.mismatch import mismatches, own_texts
from capfilt.pipelines.calibration.rescore import Said, load_judges, score_texts
from capfilt.pipelines.selection.scores import judge_columns

PAIR: Final = (
    pa.field("uid", pa.string(), nullable=False),  # of the image; a digest of its bytes where the run has it not
    pa.field("candidate", pa.int32()),  # null for a text that is none of the image's candidates
    pa.field("source", pa.string(), nullable=False),  # of the text: web, human, synthetic; other = not of this run
    pa.field("kind", pa.string(), nullable=False),  # labelled (as files have it); or own, shuffled, hard
    pa.field("positive", pa.bool_(), nullable=False),  # labeled right; or the image's own text
)
"""The fixed columns of pairs.parquet; every judge adds a float32 column.

No texts: a mismatch would hold the text of another image than its uid says, and `forget` could not find it.
"""

Row = dict[str, Any]
NewTexts = dict[str, list[tuple[Said, Row]]]
"""By image: a text, and its row of `PAIR` without scores."""


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """What was gathered."""

    table: pa.Table  # `PAIR` and the judges' columns
    left_out: dict[str, int]  # pairs that could not be used, by reason


def _columns(ledger: Ledger) -> list[str]:
    """The judges' columns; InputError if there are none."""
    columns = judge_columns(captions_schema(ledger))
    if not columns:
        raise InputError(f"{ledger.folder.location}: no judge scored this run, so there is nothing to calibrate")
    return columns


def make_pairs(ledger: Ledger, images: int, seed: int) -> ScoredPairs:
    """The own texts of a sample of images, and mismatches made of them; see `mismatch`.

    Raises:
        InputError: no two images whose texts could be exchanged.
        ChangedError, ModelError: the judges are not those of the run.
    """
    columns = _columns(ledger)
    own = own_texts(ledger, images, seed)
    new: NewTexts = defaultdict(list)
    for pair in mismatches(own):
        new[pair.uid].append(((pair.text, pair.box), _row(pair.uid, None, pair.source, pair.kind, False)))
    if not new:
        raise InputError(
            f"{ledger.folder.location}: no two images can exchange their texts; give labeled pairs with --pairs"
        )
    left_out: Counter[str] = Counter()
    scored = _scored(ledger, new, read_images(ledger, list(new)), left_out)
    rows = [_row(c.uid, c.candidate, c.source, "own", True) | c.scores for c in own]
    return _pairs([*rows, *scored], columns, left_out)


def labeled_pairs(ledger: Ledger, labels: Sequence[Label]) -> ScoredPairs:
    """The labeled pairs with their scores: the run's where it has them, else new ones by its judges.

    No model is loaded if every text is a candidate of the run.

    Raises:
        InputError: no pair is left.
        ChangedError, ModelError: the judges are needed, and not those of the run.
    """
    columns, known = _columns(ledger), _known(ledger, labels)
    rows: list[Row] = []
    new: NewTexts = defaultdict(list)
    left_out: Counter[str] = Counter()
    for label in labels:
        match = known.get(label.row)
        if match and match["text"] is not None:
            rows.append({**match, "uid": label.key, "kind": "labelled", "positive": label.right})
        elif not match and label.image is None:
            left_out["the run has no such image"] += 1
        elif label.text is None:
            left_out["the image has no such candidate"] += 1
        else:
            new[label.key].append(((label.text, None), _row(label.key, None, "other", "labelled", label.right)))
    if new:
        foreign = {label.key: label.image for label in labels if label.image is not None}
        own = read_images(ledger, [key for key in new if key not in foreign])
        rows += _scored(ledger, new, chain(foreign.items(), own), left_out)
    if not rows:
        told = ", ".join(f"{reason} ({count})" for reason, count in left_out.items())
        raise InputError(f"{ledger.folder.location}: no labeled pair can be used: {told}")
    return _pairs(rows, columns, left_out)


def _known(ledger: Ledger, labels: Sequence[Label]) -> dict[int, Row]:
    """By row of the file: the candidate, with nulls where the image is known but the text is not."""
    asked = pa.table(
        {
            "row": pa.array([label.row for label in labels], pa.int64()),
            "uid": pa.array([label.uid for label in labels], pa.string()),
            "number": pa.array([label.candidate for label in labels], pa.int32()),
            "words": pa.array([label.text for label in labels], pa.string()),
        }
    )
    tables = {
        "asked": asked,
        "captions": captions(ledger),
        "images": ledger.dataset("images", schema.IMAGES),
    }
    with duckdb_sandbox.connect(tables) as connection:
        rows = connection.sql(_KNOWN).to_arrow_table().to_pylist()
    return {row.pop("row"): row for row in rows}


_KNOWN: Final = """
WITH own AS (FROM captions SEMI JOIN asked USING (uid))
SELECT row, own.* EXCLUDE (uid)
FROM asked SEMI JOIN (SELECT uid FROM images) AS there USING (uid)
LEFT JOIN own ON own.uid = asked.uid AND coalesce(own.candidate = number, own.text = words)
QUALIFY row_number() OVER (PARTITION BY row ORDER BY own.candidate) = 1
"""


def _scored(ledger: Ledger, new: NewTexts, pictures: Iterable[tuple[str, bytes]], left_out: Counter[str]) -> list[Row]:
    """The rows of `new` with their scores; those of images that cannot be used are counted in `left_out`."""
    texts = {key: [text for text, _ in rows] for key, rows in new.items()}
    # Stored images passed the tests of the run, and may be smaller than what they were made of.
    settings = DecodeSettings.model_validate(ledger.run["recipe"]["decode"] | {"min_side": 1, "exclude_eval": []})
    done: list[Row] = []
    for key, scores in score_texts(pictures, texts, settings, load_judges(ledger)):
        if scores is None:
            left_out["the image cannot be decoded or scored"] += len(new[key])
        else:
            done += [row | own for (_, row), own in zip(new[key], scores, strict=True)]
    return done


def _row(uid: str, candidate: int | None, source: str, kind: str, positive: bool) -> Row:
    names = (field.name for field in PAIR)
    return dict(zip(names, (uid, candidate, source, kind, positive), strict=True))


def _pairs(rows: list[Row], columns: Sequence[str], left_out: Counter[str]) -> ScoredPairs:
    kinds = pa.schema([*PAIR, *(pa.field(name, pa.float32()) for name in columns)])
    return ScoredPairs(pa.Table.from_pylist(rows, schema=kinds), dict(left_out))
