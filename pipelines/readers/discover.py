"""From INPUT arguments to input files: what is a list, a shard, a picture, and what only describes these."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from capfilt.core import config
from capfilt.core.errors import ConfigError, InputError, UserError
from capfilt.core.storage import without_secrets
from capfilt.pipelines.readers.base import InputFile, Lost
from capfilt.pipelines.readers.files import Neighbours
from capfilt.pipelines.readers.folder import is_description, pictures_of, stem
from capfilt.pipelines.readers.layout import layout_of, list_extension
from capfilt.pipelines.readers.lists import ListReader
from capfilt.pipelines.readers.parquet import ParquetReader, open_parquet
from capfilt.pipelines.readers.places import Place, list_names, open_place
from capfilt.pipelines.readers.samples import kind_of
from capfilt.pipelines.readers.webdataset import sidecar_texts

KNOWN: Final = ".parquet .csv .tsv .jsonl .json .txt (.gz), .tar, pictures, or a folder of any of these"

_LISTS: Final = {reader.name: reader for reader in (ListReader(), ParquetReader())}


@dataclass(frozen=True, slots=True)
class Found:
    """What the arguments come to."""

    files: tuple[InputFile, ...]  # sorted by identity
    notes: tuple[str, ...]  # what was left out of directories and globs, and why; a line each


def find(inputs: Sequence[str], settings: config.InputSettings) -> Found:
    """Expand the arguments.

    Raises:
        InputError: something is not there, matches nothing or is of no known kind.
        ConfigError: a list in a directory has no usable column.
    """
    if not inputs:
        raise InputError("no input given")
    places = [open_place(argument) for argument in inputs]
    beside = _Beside()
    trees = [_Tree(place, settings, beside) for place in places if place.kind != "file"]
    files = [file for tree in trees for file in tree.files()]
    files += _named([place for place in places if place.kind == "file"], beside)
    sidecars = {file.sidecar for file in files}
    files = [file for file in files if file.location not in sidecars]
    return Found(tuple(_told_apart(_once(files))), tuple(note for tree in trees for note in tree.notes()))


def reader_of(path: str) -> str:
    """The reader of a data file by its name; empty for a picture or anything else."""
    lowered = path.lower()
    if lowered.endswith(".tar"):
        return "webdataset"
    if lowered.endswith(".parquet"):
        return "parquet"
    return "lists" if list_extension(path) else ""


class _Beside:
    """Finds the CSV beside a shard that has its name and gives texts to its members."""

    def __init__(self) -> None:
        self.names: dict[tuple[int, str], set[str]] = {}

    def sidecar(self, place: Place, shard: str) -> str | None:
        """The location of the sidecar of the shard at this path."""
        folder = posixpath.dirname(shard)
        key = id(place.filesystem), folder
        if key not in self.names:
            self.names[key] = list_names(place.filesystem, folder)
        candidates = [stem(shard) + extension for extension in (".csv", ".tsv")]
        there = [place.location(path) for path in candidates if posixpath.basename(path) in self.names[key]]
        return next((location for location in there if _gives_texts(location)), None)


def _gives_texts(location: str) -> bool:
    try:
        return bool(sidecar_texts(location))
    except UserError:
        return False


def _has_layout(location: str, settings: config.InputSettings) -> bool:
    try:
        layout_of(location, settings)
    except ConfigError:
        return False
    except InputError:
        return True  # cannot be unpacked; its reader will say so
    return True


class _Tree:
    """The files of a directory or a glob.

    Files are found here rather than named, so what only describes others is left out, with a note: a list beside a
    shard that bears the shard's name or names its members, the log of an img2dataset download, a .json or .txt that
    is no list.
    """

    def __init__(self, place: Place, settings: config.InputSettings, beside: _Beside) -> None:
        self.place, self.settings = place, settings
        self.sizes = {entry.path: entry.size for entry in place.entries}
        shards = [path for path in self.sizes if reader_of(path) == "webdataset"]
        self.shards = {path: replace(self._file(path), sidecar=beside.sidecar(place, path)) for path in shards}
        self.sidecars = {file.sidecar for file in self.shards.values()}
        self.shard_stems = {stem(path) for path in self.shards}
        self.shard_folders = {posixpath.dirname(path) for path in self.shards}
        self.picture_stems = {stem(path) for path in self.sizes if _is_picture(path)}
        self.folders = {posixpath.dirname(path) for path in self.sizes}
        self.left_out: dict[str, list[str]] = defaultdict(list)

    def files(self) -> list[InputFile]:
        """Shards and lists, with the pictures that metadata does not name; where there are none, every file."""
        lists, others = self._lists()
        if not self.shards and not lists:
            return self._folder(others)
        return [*self.shards.values(), *lists.values(), *self._folder(self._unnamed(lists, others))]

    def notes(self) -> list[str]:
        """One line a reason for which files were left out."""
        return [
            f"{self.place.argument}: {len(names)} left out, {why}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}"
            for why, names in self.left_out.items()
        ]

    def _lists(self) -> tuple[dict[str, InputFile], list[str]]:
        """The lists by path, and the files that are neither list nor shard."""
        lists: dict[str, InputFile] = {}
        others = []
        for path in self.sizes:
            if path in self.shards or self.place.location(path) in self.sidecars:
                continue
            if reader_of(path) not in _LISTS or (is_description(path) and stem(path) in self.picture_stems):
                others.append(path)
            elif why := self._why_not(path):
                self._leave_out(path, why)
            elif is_description(path) and not self._is_list(path):
                others.append(path)
            else:
                lists[path] = self._file(path)
        return lists, others

    def _why_not(self, path: str) -> str | None:
        """Why a list is no input of its own."""
        if stem(path.removesuffix(".gz")) in self.shard_stems:
            return "named like a shard, which it describes"
        if posixpath.dirname(path) in self.shard_folders and self._names_members(path):
            return "names members of the shards beside it"
        if path.endswith("_stats.json") and path.removesuffix("_stats.json") + ".parquet" in self.sizes:
            return "the log of a download"
        if reader_of(path) == "parquet" and stem(path) in self.folders and self._is_download_log(path):
            return "the log of a download whose pictures are here"
        return None

    def _names_members(self, path: str) -> bool:
        try:
            return any(True for _ in self._references(self._file(path)))
        except UserError:
            return False

    def _is_list(self, path: str) -> bool:
        """Whether a .json or .txt is a list at all: a wrong setting or a broken file does not make it none."""
        by_given = self.settings.model_copy(update={"text": "none"})
        return any(
            _has_layout(self.place.location(path), names) for names in (by_given, config.InputSettings(text="none"))
        )

    def _is_download_log(self, path: str) -> bool:
        try:
            return {"url", "key", "status"} <= set(open_parquet(self.place.location(path)).schema_arrow.names)
        except InputError:
            return False

    def _references(self, file: InputFile) -> Iterator[str]:
        return _LISTS[file.reader].references(file, self.settings)

    def _unnamed(self, lists: dict[str, InputFile], others: list[str]) -> list[str]:
        """Pictures under the folder of a metadata file that no list names, and their texts."""
        named = {path for file in lists.values() for path in self._named_by(file)} if others else set()
        homes = tuple(posixpath.dirname(path) + "/" for path in lists if _is_metadata(path))
        rest = [path for path in others if path not in named]
        mine = [path for path in rest if _is_picture(path) and path.startswith(homes)]
        stems, taken = {stem(path) for path in mine}, set(mine)
        for path in rest:
            if path not in taken and not is_description(path):
                self._leave_out(path, "named by no list")
        return mine + [path for path in rest if is_description(path) and stem(path) in stems]

    def _named_by(self, file: InputFile) -> Iterator[str]:
        neighbours = Neighbours.beside(file.location)
        try:
            for reference in self._references(file):
                with suppress(Lost):
                    yield neighbours.resolve(reference)
        except InputError:
            return  # it is broken, and will be a row that says so

    def _leave_out(self, path: str, why: str) -> None:
        self.left_out[why].append(posixpath.relpath(path, self.place.base))

    def _file(self, path: str) -> InputFile:
        place = self.place
        return InputFile(reader_of(path), place.location(path), place.identity(path), place.argument)

    def _folder(self, paths: list[str]) -> list[InputFile]:
        """The pictures among `paths`, as one input."""
        place = self.place
        names = [(posixpath.relpath(path, place.base), self.sizes[path]) for path in paths]
        pictures = tuple(pictures_of(names))
        location, identity = place.location(place.base), place.identity(place.base)
        return [InputFile("folder", location, identity, place.argument, pictures=pictures)] if pictures else []


def _is_picture(path: str) -> bool:
    return kind_of(posixpath.splitext(path)[1]) == "image"


def _is_metadata(path: str) -> bool:
    return posixpath.basename(path).split(".")[0] == "metadata"


def _named(places: list[Place], beside: _Beside) -> list[InputFile]:
    """Files that were given by name. Pictures among them are grouped by folder, each with the texts of its stem.

    Raises:
        InputError: a file of no known type.
    """
    stems = {stem(place.base) for place in places if _is_picture(place.base)}
    folders: dict[str, list[Place]] = defaultdict(list)
    files = []
    for place in places:
        reader = reader_of(place.base)
        location, identity = place.location(place.base), place.identity(place.base)
        if _is_picture(place.base) or (is_description(place.base) and stem(place.base) in stems):
            folders[posixpath.dirname(place.base)].append(place)
        elif reader:
            sidecar = beside.sidecar(place, place.base) if reader == "webdataset" else None
            files.append(InputFile(reader, location, identity, place.argument, True, sidecar))
        else:
            raise InputError(f"{place.argument}: unknown file type; known: {KNOWN}")
    return files + [_pictures(folder, group) for folder, group in folders.items()]


def _pictures(folder: str, places: list[Place]) -> InputFile:
    names = [(posixpath.relpath(place.base, folder), place.entries[0].size) for place in places]
    first = places[0]
    identity = posixpath.basename(folder) or "/"
    return InputFile("folder", first.location(folder), identity, first.argument, True, None, tuple(pictures_of(names)))


def _once(files: Iterable[InputFile]) -> list[InputFile]:
    """Each file once, however many arguments lead to it, under its longest identity."""
    groups: dict[tuple[str, str], list[InputFile]] = defaultdict(list)
    for file in files:
        groups[file.reader, file.location].append(file)
    return [_merged(group) for group in groups.values()]


def _merged(group: list[InputFile]) -> InputFile:
    best = max(group, key=lambda file: (len(file.identity), file.identity))
    pictures = [picture for file in group for picture in file.pictures]
    sizes = {text: 0 for picture in pictures for text in picture.texts} | {p.name: p.size for p in pictures}
    named = any(file.named for file in group)
    return replace(best, named=named, pictures=tuple(pictures_of(sizes.items())))


def _told_apart(files: list[InputFile]) -> list[InputFile]:
    """Sorted by identity; files whose identity is the same are called by their whole path."""
    counts = Counter(file.identity for file in files)
    apart = [
        replace(file, identity=without_secrets(file.location)) if counts[file.identity] > 1 else file for file in files
    ]
    return sorted(apart, key=lambda file: (file.identity, file.location))
