"""What stands beside a file and belongs to it: the captions of a shard, the images of a list."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from capfilt.core.errors import UserError
from capfilt.pipelines.readers.files.pictures import Origin
from capfilt.pipelines.readers.files.places import Place, list_names
from capfilt.pipelines.readers.files.spelling import Spelling, spelled, spellings
from capfilt.pipelines.readers.folder.folder import stem
from capfilt.pipelines.readers.shards.sidecar import SUFFIXES, sidecar_texts
from capfilt.pipelines.readers.text.encoding import UnnamedEncoding

Found = tuple[str, int]
"""A folder, relative to the list's, and the folders at the front of the reference that are not there."""

_MAX_FOLDERS: Final = 8  # that one list may have its images in by bare names; each is one more look for each row
_MAX_SUFFIXES: Final = 6


class Sidecars:
    """Finds the table beside a shard that has its name and gives texts to its members."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding  # `input.encoding`
        self.names: dict[tuple[int, str], set[str]] = {}

    def of(self, place: Place, shard: str) -> str | None:
        """The location of the sidecar of the shard at this path."""
        folder = posixpath.dirname(shard)
        key = id(place.filesystem), folder
        if key not in self.names:
            self.names[key] = list_names(place.filesystem, folder)
        names = [f"{shard_stem(shard)}.{suffix}" for suffix in SUFFIXES]
        there = [place.location(path) for path in names if posixpath.basename(path) in self.names[key]]
        return next((location for location in there if _gives_texts(location, self.encoding)), None)


def shard_stem(path: str) -> str:
    """The path of a file without its suffixes: `a/00000` of `a/00000.tar.gz`."""
    folder, slash, base = path.rpartition("/")
    lowered = base.lower()
    cut = lowered.rfind(".tar")
    return folder + slash + base[:cut] if cut > 0 else stem(path)


def origin_of(references: Sequence[str], home: str, paths: Iterable[str]) -> Origin | None:
    """Where the images are that a list in the folder `home` names, by the paths of all images that there are.

    None where they stand beside it as named, or where it cannot be told. Lists name images by a bare name though
    they lie in folders beside (`annotations/x.json`, `val2017/a.jpg`), by folders that were left behind
    (`data/train/a.jpg` in `train/`), or in another spelling than that of the disk (see `files.spelling`).
    """
    everything = set(paths)
    if any(posixpath.normpath(posixpath.join(home, one)) in everything for one in references):
        return None
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in everything:
        by_name[posixpath.basename(path)].append(path)
    for spelling in spellings(references, _suffixes(everything)):
        places = [set(_places(spelled(one, spelling), home, by_name)) for one in references]
        if 2 * sum(map(bool, places)) >= len(references):
            return _agreed(places, spelling, home, everything)
    return None


def _suffixes(paths: Iterable[str]) -> list[str]:
    """The suffixes of images, the most frequent first."""
    counts = Counter(posixpath.splitext(path)[1] for path in sorted(paths))
    return [suffix for suffix, _ in counts.most_common(_MAX_SUFFIXES) if suffix]


def _agreed(places: Sequence[set[Found]], spelling: Spelling, home: str, paths: Iterable[str]) -> Origin | None:
    """The few folders that have the images between them, or the one in which most are found."""
    votes = Counter(place for found in places for place in found)
    ranked = sorted(votes, key=lambda place: (-votes[place], place))
    best, folders = ranked[0], [folder for folder, _ in ranked]
    is_shared = all(len(found) <= 1 for found in places) and len({strip for _, strip in ranked}) == 1
    if is_shared and len(folders) <= _MAX_FOLDERS and _is_disjoint(folders, home, paths):
        return Origin(*best, spelling, tuple(folders[1:]))
    is_clear = 2 * votes[best] >= len(places) and votes[best] > sum(votes[place] for place in ranked[1:])
    return Origin(*best, spelling) if is_clear else None


def _is_disjoint(folders: Sequence[str], home: str, paths: Iterable[str]) -> bool:
    """Whether no two of these folders hold an image of the same name."""
    seen: set[str] = set()
    roots = [posixpath.normpath(posixpath.join(home, folder)) + "/" for folder in folders]
    for path in paths:
        inside = next((path.removeprefix(root) for root in roots if path.startswith(root)), None)
        if inside in seen:
            return False
        seen |= {inside} if inside else set()
    return True


def _places(reference: str, home: str, by_name: dict[str, list[str]]) -> Iterable[Found]:
    """The shortest cuts of a reference that lead to an image, one for each place it is found in."""
    parts = posixpath.normpath(reference).lstrip("/").split("/")
    for strip in range(len(parts)):
        tail = "/".join(parts[strip:])
        found = [path for path in by_name.get(parts[-1], ()) if path.endswith("/" + tail)]
        if found:
            skipped = strip + reference.startswith("/")
            return [(posixpath.relpath(path[: -len(tail) - 1], home), skipped) for path in found]
    return []


def _gives_texts(location: str, encoding: str) -> bool:
    try:
        return bool(sidecar_texts(location, encoding=encoding))
    except UserError as error:
        if isinstance(error, UnnamedEncoding):
            raise  # its captions would be left out without a word
        return False
