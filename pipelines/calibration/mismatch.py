"""Pairs without labels: the run's own texts, and mismatches made of them.

A mismatch is an image with a text of another image of the sample. SHUFFLED ones come from any image, HARD ones from the
nearest neighbor: the image whose text overlaps most (cosine of tf-idf weights of runs of 2 to 4 letters, which needs
no language). A text that might be right after all is not used: the words of one of the image's own texts, or a text of
an image that looks the same (equal phash).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from capfilt.core import duckdb_sandbox, schema
from capfilt.ledger.joined import captions, captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.selection.scores import judge_columns

NEIGHBORS: Final = 20
"""Nearest texts that are looked at for one that may be used."""

READ: Final = 500
"""Characters of a text that are compared."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text of an image of the sample."""

    uid: str
    candidate: int
    source: str
    text: str
    phash: int
    scores: dict[str, float | None]
    box: list[float] | None = None  # `schema.BOX`


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A text of another image."""

    uid: str
    source: str
    text: str
    kind: str  # shuffled or hard
    box: list[float] | None = None  # of the text in whose place it stands


def own_texts(ledger: Ledger, images: int, seed: int) -> list[Candidate]:
    """All texts of `images` images, drawn by a hash of seed and uid; empty texts are left out, they need no judge."""
    judges = judge_columns(captions_schema(ledger))
    tables = {
        "captions": captions(ledger),
        "images": ledger.dataset("images", schema.IMAGES),
    }
    with duckdb_sandbox.connect(tables) as connection:
        rows = connection.sql(_OWN, params={"seed": str(seed), "images": images}).to_arrow_table()
    return [
        Candidate(
            row["uid"],
            row["candidate"],
            row["source"],
            row["text"],
            row["phash"],
            {name: row[name] for name in judges},
            row["box"],
        )
        for row in rows.to_pylist()
    ]


_OWN: Final = r"""
WITH drawn AS (SELECT DISTINCT uid FROM captions ORDER BY md5($seed || uid) LIMIT $images)
SELECT captions.*, phash
FROM captions JOIN drawn USING (uid) JOIN (SELECT uid, phash FROM images) USING (uid)
WHERE regexp_matches(text, '\S')
ORDER BY md5($seed || uid), candidate
"""


def mismatches(own: Sequence[Candidate]) -> Iterator[Mismatch]:
    """At most one shuffled and one hard mismatch an image and source; none where no other text can be used."""
    by_image: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in own:
        by_image[candidate.uid].append(candidate)
    for source in sorted({candidate.source for candidate in own}):
        firsts = [next((c for c in some if c.source == source), None) for some in by_image.values()]
        donors = _Donors([first for first in firsts if first], by_image)
        yield from donors.shuffled()
        yield from donors.hard()


@dataclass(frozen=True)
class _Donors:
    """One text of one source of every image that has one, in the order of the sample."""

    firsts: list[Candidate]
    by_image: dict[str, list[Candidate]]

    def shuffled(self) -> Iterator[Mismatch]:
        """The sample is in no order, so the next image is any other."""
        count = len(self.firsts)
        for place in range(count):
            yield from self._usable(place, ((place + step) % count for step in range(1, count)), "shuffled")

    def hard(self) -> Iterator[Mismatch]:
        if len(self.firsts) < 2:
            return
        texts = [first.text[:READ] for first in self.firsts]
        vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit_transform(texts)
        search = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(texts)), metric="cosine").fit(vectors)
        for place, near in enumerate(search.kneighbors(vectors, return_distance=False)):
            yield from self._usable(place, near, "hard")

    def _usable(self, place: int, others: Iterable[int], kind: str) -> Iterator[Mismatch]:
        own = self.by_image[self.firsts[place].uid]
        said = {_words(candidate.text) for candidate in own}
        for other in others:
            donor = self.firsts[other]
            if donor.phash != own[0].phash and _words(donor.text) not in said:
                yield Mismatch(own[0].uid, donor.source, donor.text, kind, self.firsts[place].box)
                return


def _words(text: str) -> frozenset[str]:
    return frozenset(text[:READ].casefold().split())
