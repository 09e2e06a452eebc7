"""What stands beside a file and belongs to it: the captions of a shard, the images of a list."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from capfilt.core.errors import UserError
from capfilt.pipelines.readers.files.pictures import Origin
from capfilt.pipelines.readers.files.places import Place, list_names
from capfilt.pipelines.readers.folder.folder import stem
from capfilt.pipelines.readers.shards.sidecar import SUFFIXES, sidecar_texts


class Sidecars:
    """Finds the table beside a shard that has its name and gives texts to its members."""

    def __init__(self) -> None:
        self.names: dict[tuple[int, str], set[str]] = {}

    def of(self, place: Place, shard: str) -> str | None:
        """The location of the sidecar of the shard at this path."""
        folder = posixpath.dirname(shard)
        key = id(place.filesystem), folder
        if key not in self.names:
            self.names[key] = list_names(place.filesystem, folder)
        names = [f"{shard_stem(shard)}.{suffix}" for suffix in SUFFIXES]
        there = [place.location(path) for path in names if posixpath.basename(path) in self.names[key]]
        return next((location for location in there if _gives_texts(location)), None)


def shard_stem(path: str) -> str:
    """The path of a file without its suffixes: `a/00000` of `a/00000.tar.gz`."""
    folder, slash, base = path.rpartition("/")
    lowered = base.lower()
    cut = lowered.rfind(".tar")
    return folder + slash + base[:cut] if cut > 0 else stem(path)


def origin_of(references: Sequence[str], home: str, paths: Iterable[str]) -> Origin | None:
    """Where the images are that a list in the folder `home` names, by the paths of all images that there are.

    None where they stand beside it as named, or where it cannot be told. Lists name images by a bare name though
    they lie in a folder beside (`annotations/x.json`, `val2017/a.jpg`), or by folders that were left behind
    (`data/train/a.jpg` in `train/`).
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    everything = set(paths)
    if any(posixpath.normpath(posixpath.join(home, one)) in everything for one in references):
        return None
    for path in everything:
        by_name[posixpath.basename(path)].append(path)
    votes: Counter[Origin] = Counter()
    for reference in references:
        votes.update(set(_origins(reference, home, by_name)))
    ranked = votes.most_common(2)
    is_clear = bool(ranked) and 2 * ranked[0][1] >= len(references) and ranked[0][1] > sum(n for _, n in ranked[1:])
    return ranked[0][0] if is_clear else None


def _origins(reference: str, home: str, by_name: dict[str, list[str]]) -> Iterable[Origin]:
    """The shortest cuts of a reference that lead to an image, one for each place it is found in."""
    parts = posixpath.normpath(reference).lstrip("/").split("/")
    for strip in range(len(parts)):
        tail = "/".join(parts[strip:])
        found = [path for path in by_name.get(parts[-1], ()) if path.endswith("/" + tail)]
        if found:
            skipped = strip + reference.startswith("/")
            return [Origin(posixpath.relpath(path[: -len(tail) - 1], home), skipped) for path in found]
    return []


def _gives_texts(location: str) -> bool:
    try:
        return bool(sidecar_texts(location))
    except UserError:
        return False
