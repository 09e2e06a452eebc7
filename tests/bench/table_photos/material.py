"""Flickr8k's photographs, dealt out to the parts of the experiment, and the web's texts with the noise of the web.

What a web text is, by `KINDS`: right and full, right and thin (half a sentence, one word), or wrong (another
photograph's caption, a near miss, a file name, a phrase of a page).
"""

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.schema import IMAGE, TEXT

COLUMNS: Final = pa.schema([("image", IMAGE), ("captions", pa.list_(TEXT)), ("uid", pa.string())])

KINDS: Final = {
    "right": 0.22,
    "half a sentence": 0.08,
    "one word": 0.08,
    "another photo's": 0.40,
    "near miss": 0.08,
    "file name": 0.06,
    "page phrase": 0.08,
}
"""Shares of the web's texts."""
RIGHT: Final = ("right", "half a sentence", "one word")

PHRASES: Final = (
    "click to enlarge",
    "free shipping on orders over 50",
    "add to cart",
    "all rights reserved",
    "stock photo royalty free",
    "photo of the day",
    "share this on your wall",
    "page 2 of 14",
    "best price in town",
    "view all comments",
    "download wallpaper hd",
    "posted by admin",
    "my holiday 2012",
    "untitled",
    "no description available",
)
FILE_NAMES: Final = ("IMG_{}.JPG", "DSC0{}.jpg", "P101{}.jpeg", "image-{}-final.png", "{}_n.jpg")

SWAPS: Final = dict(
    pair
    for a, b in (
        ("man", "woman"),
        ("boy", "girl"),
        ("men", "women"),
        ("boys", "girls"),
        ("dog", "horse"),
        ("dogs", "horses"),
        ("red", "blue"),
        ("black", "white"),
        ("green", "yellow"),
        ("brown", "gray"),
        ("water", "snow"),
        ("grass", "sand"),
        ("beach", "street"),
        ("running", "sleeping"),
        ("jumping", "sitting"),
        ("standing", "swimming"),
        ("two", "four"),
        ("three", "one"),
        ("ball", "book"),
        ("bike", "boat"),
    )
    for pair in ((a, b), (b, a))
)
"""Words for which another is wrong of nearly any photograph: what a near miss exchanges."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph, and what five people said of it."""

    name: str
    jpeg: bytes
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WebText:
    """The one text of a web photograph."""

    text: str
    kind: str

    @property
    def right(self) -> bool:
        return self.kind in RIGHT


@dataclass(frozen=True, slots=True)
class Pair:
    """A photograph by number and a text, and whether people said that they match."""

    photo: int
    text: str
    match: bool


@dataclass(frozen=True, slots=True)
class Material:
    """One seed's photographs, by number, and the web's texts."""

    human: list[int]
    calibration: list[int]  # people's as well, kept from all training: they set the threshold of the filter
    web: list[int]
    texts: list[WebText]  # of the web's photographs
    test: list[int]
    pairs: list[Pair]  # labeled by people, of test photographs


def read_photos(folder: Path) -> list[Photo]:
    """All photographs of webdataset shards, by name."""
    found: dict[str, Photo] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            files = {Path(member.name): tar.extractfile(member) for member in tar.getmembers()}
            for path in sorted(path for path in files if path.suffix == ".json"):
                told, photo = files[path], files[path.with_suffix(".jpg")]
                assert told is not None
                assert photo is not None
                facts = json.load(told)
                found[facts["name"]] = Photo(facts["name"], photo.read(), tuple(facts["captions"]))
    return [found[name] for name in sorted(found)]


def deal(photos: Sequence[Photo], labels: Path, sizes: tuple[int, int, int], seed: int) -> Material:
    """Who is human, calibration, web and test. Photographs of the labeled dev and test pairs are always test.

    Args:
        sizes: human, calibration, web; the rest is the test set, which no seed changes.
    """
    number = {photo.name: place for place, photo in enumerate(photos)}
    lines = map(json.loads, labels.read_text(encoding="utf-8").splitlines())
    pairs = [
        Pair(number[row["image"]], row["caption"], row["label"] == "match")
        for row in lines
        if row["split"] != "train" and row["image"] in number
    ]
    labeled = {pair.photo for pair in pairs}
    rest = np.array([place for place in range(len(photos)) if place not in labeled])
    rest = rest[np.random.default_rng(0).permutation(len(rest))]
    learned, test = rest[: sum(sizes)], sorted({*rest[sum(sizes) :].tolist(), *labeled})
    rng = np.random.default_rng([seed, 1])
    human, calibration, web = np.split(rng.permutation(learned), np.cumsum(sizes)[:2])
    texts = list(_web_texts([photos[place].captions for place in web], rng))
    return Material(human.tolist(), calibration.tolist(), web.tolist(), texts, test, pairs)


def _web_texts(captions: Sequence[Sequence[str]], rng: np.random.Generator) -> Iterator[WebText]:
    kinds = rng.choice(list(KINDS), len(captions), p=list(KINDS.values()))
    nouns = [word for word, _ in Counter(w for own in captions for w in set(_words(" ".join(own)))).most_common(400)]
    known = frozenset(nouns[20:])  # the commonest are "a", "in", "the"
    for place, kind in enumerate(map(str, kinds)):
        own = captions[place][int(rng.integers(len(captions[place])))]
        other = captions[(place + 1 + int(rng.integers(len(captions) - 1))) % len(captions)]
        yield _web_text(kind, own, str(other[int(rng.integers(len(other)))]), known, rng)


def _web_text(kind: str, own: str, other: str, known: frozenset[str], rng: np.random.Generator) -> WebText:
    words = own.split()
    match kind:
        case "half a sentence":
            return WebText(" ".join(words[: max(3, len(words) // 2)]), kind)
        case "one word":
            said = [word for word in _words(own) if word in known] or _words(own)[-1:]
            return WebText(said[int(rng.integers(len(said)))], kind)
        case "another photo's":
            return WebText(other, kind)
        case "near miss" if any(word in SWAPS for word in _words(own)):
            return WebText(_near_miss(own, rng), kind)
        case "near miss":  # nothing in it that could be exchanged
            return WebText(other, "another photo's")
        case "file name":
            return WebText(FILE_NAMES[int(rng.integers(len(FILE_NAMES)))].format(int(rng.integers(1000, 9999))), kind)
        case "page phrase":
            return WebText(PHRASES[int(rng.integers(len(PHRASES)))], kind)
    return WebText(own, kind)


def _near_miss(text: str, rng: np.random.Generator) -> str:
    """One word exchanged for one that does not fit."""
    places = [found for found in re.finditer(r"\w+", text) if found[0].lower() in SWAPS]
    chosen = places[int(rng.integers(len(places)))]
    return text[: chosen.start()] + SWAPS[chosen[0].lower()] + text[chosen.end() :]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def write(path: Path, photos: Sequence[Photo], texts: Sequence[tuple[int, Sequence[tuple[str, str]]]]) -> None:
    """Photographs by number, each with (text, source), as training reads them; those without a text are left out."""
    rows = [
        {
            "image": {"bytes": photos[place].jpeg, "path": photos[place].name},
            "captions": [{"text": text, "source": source} for text, source in own],
            "uid": photos[place].name,
        }
        for place, own in texts
        if own
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, COLUMNS), path)
