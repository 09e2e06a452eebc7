"""From INPUT arguments to input files: what is a list, a shard, an image, and what only describes these."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from capfilt.core import config
from capfilt.core.errors import InputError, UserError
from capfilt.core.storage import without_secrets
from capfilt.pipelines.readers import all_readers, reader_named
from capfilt.pipelines.readers.discovery import kinds
from capfilt.pipelines.readers.discovery.beside import Sidecars, origin_of
from capfilt.pipelines.readers.discovery.tree import Tree
from capfilt.pipelines.readers.files.places import Place, expanded, list_paths, open_place
from capfilt.pipelines.readers.folder.folder import is_description, picture_keys, pictures_of, text_key
from capfilt.pipelines.readers.rows.reader import InputFile

PACKED: Final = "packed with gzip, bzip2, xz or zstd or not"

_SAMPLE: Final = 100  # references of a list that tell where its images are


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """What the arguments come to."""

    files: tuple[InputFile, ...]  # sorted by identity
    notes: tuple[str, ...]  # what was left out of directories and globs, and why; a line each


def find(inputs: Sequence[str], settings: config.InputSettings) -> FoundInputs:
    """Expand the arguments.

    Raises:
        InputError: something is not there, matches nothing or is of no known kind.
        ConfigError: a list has no usable column.
    """
    if not inputs:
        raise InputError("no input given")
    places = [open_place(one) for argument in inputs for one in expanded(argument)]
    sidecars = Sidecars(settings.encoding)
    keys = picture_keys(entry.path for place in places for entry in place.entries if kinds.is_picture(entry.path))
    trees = [Tree(place, settings, sidecars, keys) for place in places if place.kind != "file"]
    files = []
    for tree in trees:
        files += tree.files()
    files += _named([place for place in places if place.kind == "file"], sidecars, settings)
    beside = {file.sidecar for file in files}
    files = [file for file in files if file.location not in beside]
    notes = tuple(note for tree in trees for note in tree.notes())
    _check_something(trees, files)
    return FoundInputs(tuple(_told_apart(_once(files))), notes)


def _check_something(trees: Sequence[Tree], files: Sequence[InputFile]) -> None:
    """Refuse a directory of which everything is left out."""
    for tree in trees:
        if not any(file.origin == tree.place.argument for file in files) and tree.left_out:
            why, names = next(iter(tree.left_out.items()))
            raise InputError(f"{tree.place.argument}: nothing to read; {names[0]}: {why}")


def _named(places: list[Place], sidecars: Sidecars, settings: config.InputSettings) -> list[InputFile]:
    """Files that were given by name. Images among them are grouped by folder, each with the texts of its stem.

    Raises:
        InputError: a file of no known type.
        ConfigError: a list has no usable column.
    """
    keys = picture_keys(place.base for place in places if kinds.is_picture(place.base))
    folders: dict[str, list[Place]] = defaultdict(list)
    files = []
    for place in places:
        is_text = is_description(place.base) and text_key(place.base) in keys
        if is_text or kinds.is_picture(place.base) or _is_picture_by_content(place):
            folders[posixpath.dirname(place.base)].append(place)
        else:
            files.append(_named_file(place, sidecars, settings))
    return files + [_pictures(folder, group) for folder, group in folders.items()]


def _is_picture_by_content(place: Place) -> bool:
    return not kinds.candidates(place.base) and kinds.shows_a_picture(place.location(place.base))


def _named_file(place: Place, sidecars: Sidecars, settings: config.InputSettings) -> InputFile:
    location, identity = place.location(place.base), place.identity(place.base)
    readers = kinds.candidates(place.base)
    file = InputFile("", location, identity, place.argument, True, own_size=place.entries[0].size)
    if readers == ["webdataset"]:
        return replace(file, reader=readers[0], sidecar=sidecars.of(place, place.base))
    if readers:
        return _with_origin(kinds.chosen(file, readers, settings), place, settings)
    try:
        return kinds.chosen(file, kinds.by_content(location), settings)
    except UserError:
        what = kinds.looks_like(location, settings)
        suffixes = " ".join(f".{suffix}" for reader in all_readers().values() for suffix in reader.suffixes)
        known = f"{suffixes} ({PACKED}), images, or a folder of any of these"
        raise InputError(f"{place.argument}: unknown file type, {what}; known: {known}") from None


def _with_origin(file: InputFile, place: Place, settings: config.InputSettings) -> InputFile:
    """The list with the place of its images: beside it, or in a folder of its folder."""
    sample = list(reader_named(file.reader, settings.memory).references(file, settings, _SAMPLE))
    if not sample:
        return file
    home = posixpath.dirname(place.base)
    pictures = [path for path in list_paths(place.filesystem, home, depth=2) if kinds.is_picture(path)]
    return replace(file, origin_of_pictures=origin_of(sample, home, pictures))


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
    sizes = {text: size for one in pictures for text, size in zip(one.texts, one.text_sizes, strict=True)}
    sizes |= {picture.name: picture.size for picture in pictures}
    named = any(file.named for file in group)
    return replace(best, named=named, pictures=tuple(pictures_of(sizes.items())))


def _told_apart(files: list[InputFile]) -> list[InputFile]:
    """Sorted by identity; files whose identity is the same are called by their whole path."""
    counts = Counter(file.identity for file in files)
    apart = [
        replace(file, identity=without_secrets(file.location)) if counts[file.identity] > 1 else file for file in files
    ]
    return sorted(apart, key=lambda file: (file.identity, file.location))
