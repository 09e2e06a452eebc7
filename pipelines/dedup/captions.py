"""Texts that say about the same, of one image or of many: boilerplate, file names, templates, and plain repetition."""

import numpy as np
import pyarrow as pa

from capfilt.core import schema
from capfilt.ledger.joined import texts_dataset
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.dedup.groups import leaders, numbered
from capfilt.pipelines.dedup.minhash import jaccard, plain, similar_pairs


def duplicate_captions(ledger: Ledger, similarity: float) -> pa.Table:
    """`schema.DUPLICATE_CAPTIONS` of a run, by group, the representative (its first text) first, then by distance.

    All different texts of the run are in memory at once.
    """
    rows = texts_dataset(ledger).to_table(columns=["uid", "candidate", "text"])
    numbers: dict[str, int] = {}
    item = np.array([numbers.setdefault(plain(text), len(numbers)) for text in rows["text"].to_pylist()], np.int64)
    texts = list(numbers)
    _, first = np.unique(item, return_index=True)
    standing = leaders(len(texts), similar_pairs(texts, similarity))
    chosen = first[standing[item]]
    grouped = np.flatnonzero(np.bincount(chosen, minlength=len(item))[chosen] > 1)
    chosen = chosen[grouped]
    distances = {(a, b): 1 - jaccard(texts[a], texts[b]) for a, b in zip(item[grouped], item[chosen], strict=True)}
    table = pa.table(
        {
            "uid": rows["uid"].take(grouped),
            "candidate": rows["candidate"].take(grouped),
            "group": numbered(chosen),
            "distance": [distances[pair] for pair in zip(item[grouped], item[chosen], strict=True)],
            "representative": rows["uid"].take(chosen),
            "representative_candidate": rows["candidate"].take(chosen),
        }
    ).cast(schema.DUPLICATE_CAPTIONS)
    # lexsort: the last key counts first.
    return table.take(np.lexsort((grouped, table["distance"].to_numpy(), grouped != chosen, table["group"].to_numpy())))
