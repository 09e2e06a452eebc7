"""The inputs in a directory or among the files of a glob.

Files are found here rather than named, so whatever stands here is read, or left out with a reason: a table beside a
shard that bears its name or names its members, the log of an img2dataset download, a text without an image, a link
out of the folder, a file of no known kind.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from capfilt.core import config
from capfilt.core.errors import InputError, UserError
from capfilt.core.storage import without_secrets
from capfilt.pipelines.readers import reader_named
from capfilt.pipelines.readers.columnar.parquet import ParquetTable
from capfilt.pipelines.readers.discovery import kinds
from capfilt.pipelines.readers.discovery.beside import Sidecars, origin_of, shard_stem
from capfilt.pipelines.readers.files.failures import Lost, NotAnInput
from capfilt.pipelines.readers.files.packing import data_suffix
from capfilt.pipelines.readers.files.pictures import Neighbours
from capfilt.pipelines.readers.files.places import Place
from capfilt.pipelines.readers.folder.folder import is_description, picture_keys, pictures_of, stem, text_key
from capfilt.pipelines.readers.rows.reader import InputFile

_SAMPLE = 100  # references of a list that tell where its images are
_SHARD = "webdataset"
# What `datasets` writes beside its own files.
_DATASET_FILES = ("state.json", "dataset_info.json", "dataset_dict.json", "dataset_infos.json")


class Tree:
    """Sorts the files of a place."""

    def __init__(self, place: Place, settings: config.InputSettings, sidecars: Sidecars, keys: set[str]) -> None:
        self.place, self.settings = place, settings
        self.picture_keys = keys  # of the images of all arguments
        self.sizes = {entry.path: entry.size for entry in place.entries if not entry.leaves}
        self.left_out: dict[str, list[str]] = defaultdict(list)
        for entry in place.entries:
            if entry.leaves:
                self._leave_out(entry.path, "a link that leaves the folder")
        shards = [path for path in self.sizes if kinds.candidates(path) == [_SHARD]]
        self.shards = {path: replace(self._file(path, _SHARD), sidecar=sidecars.of(place, path)) for path in shards}
        self.sidecars = {file.sidecar for file in self.shards.values()}
        self.shard_stems = {shard_stem(path) for path in self.shards}
        self.shard_folders = {posixpath.dirname(path) for path in self.shards}
        self.folders = {posixpath.dirname(path) for path in self.sizes}

    def files(self) -> list[InputFile]:
        """Shards, lists, and the images that no list names."""
        unnamed = self._unnamed_pictures()
        self.picture_keys = self.picture_keys | picture_keys(unnamed)
        lists, others = self._lists()
        pictures = [path for path in others if kinds.is_picture(path)] + unnamed
        lists = {path: self._with_origin(path, file, pictures) for path, file in lists.items()}
        named = self._named_by_all(lists) if pictures else set()
        loose = [path for path in pictures if path not in named]
        texts = self._texts(others, pictures, loose, named)
        return [*self.shards.values(), *lists.values(), *self._folder(loose + texts)]

    def notes(self) -> list[str]:
        """One line a reason for which files were left out."""
        origin = without_secrets(self.place.argument)
        return [
            f"{origin}: {len(names)} left out, {why}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}"
            for why, names in self.left_out.items()
        ]

    def _lists(self) -> tuple[dict[str, InputFile], list[str]]:
        """The lists by path, and the files that are neither list nor shard."""
        lists: dict[str, InputFile] = {}
        others = []
        for path in self.sizes:
            if path in self.shards or self.place.location(path) in self.sidecars:
                continue
            readers = kinds.candidates(path)
            if not readers or (is_description(path) and text_key(path) in self.picture_keys):
                others.append(path)
            elif why := self._why_not(path, readers):
                self._leave_out(path, why)
            else:
                self._add_list(path, readers, lists)
        return lists, others

    def _add_list(self, path: str, readers: list[str], lists: dict[str, InputFile]) -> None:
        file = self._file(path, readers[-1])
        try:
            lists[path] = kinds.chosen(file, readers, self.settings)
        except NotAnInput as error:
            is_text = is_description(path) and "lists" in readers and "documents" not in readers
            why = "a text without an image of its name, and no list" if is_text else "no list of images"
            self._leave_out(path, f"{why} ({self._plain(error, file)})")
        except InputError:
            lists[path] = file  # broken; its reader says so in a row

    def _plain(self, error: UserError, file: InputFile) -> str:
        return str(error).removeprefix(f"{file.location}: ").partition(", one of:")[0]

    def _why_not(self, path: str, readers: list[str]) -> str | None:
        """Why a list is no input of its own."""
        if shard_stem(self._unpacked(path)) in self.shard_stems or stem(self._unpacked(path)) in self.shard_stems:
            return "named like a shard, which it describes"
        if posixpath.basename(path) in _DATASET_FILES:
            return "describes the data set"
        if posixpath.dirname(path) in self.shard_folders and self._names_members(path, readers):
            return "names members of the shards beside it"
        if path.endswith("_stats.json") and path.removesuffix("_stats.json") + ".parquet" in self.sizes:
            return "the log of a download"
        if "parquet" in readers and stem(path) in self.folders and self._is_download_log(path):
            return "the log of a download whose images are here"
        return None

    @staticmethod
    def _unpacked(path: str) -> str:
        suffix = data_suffix(path)
        return path if path.lower().endswith(suffix) else stem(path)

    def _names_members(self, path: str, readers: list[str]) -> bool:
        """Whether a list names files, of which none stands in the folder."""
        try:
            file = kinds.chosen(self._file(path, readers[-1]), readers, self.settings)
            sample = list(reader_named(file.reader, self.settings.memory).references(file, self.settings, _SAMPLE))
        except UserError:
            return False
        home = posixpath.dirname(path)
        pictures = [one for one in self.sizes if kinds.is_picture(one)]
        there = any(posixpath.normpath(posixpath.join(home, one)) in self.sizes for one in sample)
        return bool(sample) and not there and origin_of(sample, home, pictures) is None

    def _is_download_log(self, path: str) -> bool:
        try:
            return {"url", "key", "status"} <= set(ParquetTable(self.place.location(path)).schema.names)
        except InputError:
            return False

    def _unnamed_pictures(self) -> list[str]:
        """The images among the files without a known suffix; the others are left out."""
        unknown = [path for path in self.sizes if not kinds.candidates(path) and path not in self.picture_keys]
        sidecars = {path for path in unknown if self.place.location(path) in self.sidecars}
        loose = [path for path in unknown if path not in sidecars and not kinds.is_picture(path)]
        return [path for path in loose if not is_description(path) and self._is_picture(path)]

    def _is_picture(self, path: str) -> bool:
        """Whether a file without a known suffix is an image; if not, it is left out."""
        if not self.sizes[path]:
            self._leave_out(path, "an empty file")
            return False
        location = self.place.location(path)
        if kinds.shows_a_picture(location):
            return True
        self._leave_out(path, kinds.looks_like(location, self.settings))
        return False

    def _with_origin(self, path: str, file: InputFile, pictures: list[str]) -> InputFile:
        """The list with the place of its images; a note where they are nowhere."""
        if not pictures:
            return file
        try:
            sample = list(reader_named(file.reader, self.settings.memory).references(file, self.settings, _SAMPLE))
        except InputError:
            return file
        home = posixpath.dirname(path)
        return replace(file, origin_of_pictures=origin_of(sample, home, pictures) if sample else None)

    def _named_by_all(self, lists: dict[str, InputFile]) -> set[str]:
        """The images that lists name. A list without texts adds nothing where others name all of its pictures."""
        bare = {path for path, file in lists.items() if not self._gives_texts(file)}
        named: set[str] = set()
        for path in sorted(lists, key=lambda path: (path in bare, path)):
            found = set(self._named_by(lists[path]))
            if path in bare and found and found <= named:
                self._leave_out(path, "names pictures that another list names, without texts")
                del lists[path]
            named |= found
        return named

    def _gives_texts(self, file: InputFile) -> bool:
        try:
            return reader_named(file.reader, self.settings.memory).gives_texts(file, self.settings)
        except InputError:
            return True  # it is broken, and will be a row that says so

    def _named_by(self, file: InputFile) -> Iterator[str]:
        neighbours = Neighbours.beside(file.location, file.origin_of_pictures)
        try:
            for reference in reader_named(file.reader, self.settings.memory).references(file, self.settings):
                with suppress(Lost):
                    yield neighbours.resolve(reference)
        except InputError:
            return  # it is broken, and will be a row that says so

    def _texts(self, others: list[str], pictures: list[str], loose: list[str], named: set[str]) -> list[str]:
        """The texts of loose images; those of images that a list names, or of none, are left out."""
        elsewhere = self.picture_keys - picture_keys(pictures)
        keys = picture_keys(loose) | elsewhere
        named_keys = picture_keys(named)
        texts = [path for path in others if is_description(path)]
        for path in texts:
            if text_key(path) not in keys and text_key(path) in named_keys:
                self._leave_out(path, "texts of images that a list names")
            elif text_key(path) not in keys:
                self._leave_out(path, "a text without an image of its name")
        return [path for path in texts if text_key(path) in keys]

    def _leave_out(self, path: str, why: str) -> None:
        self.left_out[why].append(posixpath.relpath(path, self.place.base))

    def _file(self, path: str, reader: str) -> InputFile:
        place = self.place
        size = self.sizes[path]
        return InputFile(reader, place.location(path), place.identity(path), place.argument, own_size=size)

    def _folder(self, paths: list[str]) -> list[InputFile]:
        """The images among `paths`, as one input."""
        place = self.place
        names = [(posixpath.relpath(path, place.base), self.sizes[path]) for path in paths]
        pictures = tuple(pictures_of(names))
        location, identity = place.location(place.base), place.identity(place.base)
        return [InputFile("folder", location, identity, place.argument, pictures=pictures)] if pictures else []
