"""Which members of a shard make a sample.

webdataset cuts a name at its first dot, `0001.left.jpg` -> `0001`. Sites and cameras put dots into names, and then that
rule throws images together: `shop.1.png`, `shop.1.json`, `shop.2.png`, ... are all `shop`, and a text lands on
another's image. In a shard where it does, the name is cut at its last dot, so that a text goes only to the image
that has its whole stem. Where a folder is a sample (`0001/image.jpg`, `0001/caption.txt`), names are cut there.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from functools import partial

from capfilt.core.chunks import Json
from capfilt.pipelines.readers.folder.samples import kind_of, split_name
from capfilt.pipelines.readers.shards import tar
from capfilt.pipelines.readers.text.hygiene import clean_line

Split = Callable[[str], tuple[str, str]]
"""Member name -> key, extension."""


@dataclass(slots=True)
class Sample:
    """The members of one key."""

    key: str
    name: str = ""  # of the image, as it stands in the archive
    size: int = 0
    members: list[tuple[str, int]] = field(default_factory=list)  # extension, offset of the header block

    @property
    def images(self) -> list[str]:
        """The extensions of its images."""
        return [extension for extension, _ in self.members if kind_of(extension) == "image"]

    def takes(self, extension: str) -> bool:
        """Whether a member of this extension belongs here: each one once."""
        return extension not in (known for known, _ in self.members)

    def to_json(self) -> Json:
        """For `Part.where`."""
        return [self.key, self.name, [[extension, offset] for extension, offset in self.members]]


def samples_of(members: Iterable[tar.Member]) -> list[Sample]:
    """The samples of an archive in the order of their first members."""
    named = [(clean_name(member.name), member) for member in members]
    named = [(name, member) for name, member in named if not _is_hidden(split_name(name)[0])]
    # Decided per shard, not per sample: webdataset's own rule stays wherever it mixes nothing, so keys are those other
    # tools give.
    mixes = _mixes([split_name(name) for name, _ in named])
    split = partial(_at_the_last_dot, images={name for name, _ in named if _is_image(name)}) if mixes else split_name
    return _grouped(named, _at_the_folder if _are_samples([name for name, _ in named], split) else split)


def clean_name(name: str) -> str:
    """A member's name as it stands in keys."""
    return clean_line(name).removeprefix("./")


def unique(key: str, keys: set[str]) -> str:
    """The key, or `key#2` and so on where it is taken; notes it in `keys`."""
    name, number = key, 1
    while name in keys:
        number += 1
        name = f"{key}#{number}"
    keys.add(name)
    return name


def _grouped(named: list[tuple[str, tar.Member]], split: Split) -> list[Sample]:
    """A key that comes again with a member that its sample already has opens a new sample, named `key#2`.

    A mask or a depth map beside an image (`0001.jpg`, `0001.seg.png`) is a sample of its own, without texts.
    """
    latest: dict[str, Sample] = {}
    samples: list[Sample] = []
    keys: set[str] = set()
    plain = {split(name)[0] for name, _ in named if _is_image(split(name)[1]) and "." not in split(name)[1]}
    for name, member in named:
        key, extension = split(name)
        is_extra = _is_image(extension) and "." in extension and key in plain
        if is_extra:
            samples.append(Sample(unique(f"{key}#2", keys)))
            _add(samples[-1], name, member, extension)
            continue
        if key not in latest or not latest[key].takes(extension):
            latest[key] = Sample(unique(key, keys))
            samples.append(latest[key])
        _add(latest[key], name, member, extension)
    return samples


def _add(sample: Sample, name: str, member: tar.Member, extension: str) -> None:
    sample.members.append((extension, member.data - tar.BLOCK))
    if _is_image(extension):
        sample.name, sample.size = name, member.size


def _mixes(named: list[tuple[str, str]]) -> bool:
    """Whether cutting at the first dot puts members of different images into one sample."""
    by_key: dict[str, set[str]] = defaultdict(set)
    for key, extension in named:
        by_key[key].add(extension)
    keys_of = Counter(extension for extensions in by_key.values() for extension in extensions)
    # Numbers are parts of names where images have them, or where none is there to tell; else they count captions.
    middles = [_middle(extension) for extension in keys_of if _is_image(extension)]
    numbered = not middles or any(middle.isdigit() for middle in middles)
    roles = {
        extension
        for extension, count in keys_of.items()
        if count > 1 and not (numbered and _middle(extension).isdigit())
    }
    alone = len(by_key) == 1
    return any(_mixed(extensions, roles, alone) for extensions in by_key.values())


def _mixed(extensions: set[str], roles: set[str], alone: bool) -> bool:
    """Whether a sample of these extensions is of several names; a role (`left.jpg`) comes under many keys.

    In a shard of a single key nothing can recur; there `a.caption.txt` belongs to `a.jpg`.
    """
    images = {extension for extension in extensions if _is_image(extension)}
    texts = {extension for extension in extensions if kind_of(extension) in ("text", "json")}
    stems = {_middle(extension) for extension in images}
    if len(images) > 1:
        paired = any(_middle(text) in stems for text in texts if "." in text)
        return paired or any("." in image and image not in roles for image in images)
    if not images:
        return len({_middle(text) for text in texts if text not in roles}) > 1
    strange = [text for text in texts if "." in text and text not in roles and _middle(text) not in stems]
    return bool(strange) and not (alone and stems == {""})


def _are_samples(names: list[str], split: Split) -> bool:
    """Whether folders are samples: texts beside images have no image of their name, and always just one beside them."""
    images = [name for name in names if _is_image(split(name)[1])]
    keys, per_folder = {split(name)[0] for name in images}, Counter(posixpath.dirname(name) for name in images)
    texts = [name for name in names if kind_of(split(name)[1]) in ("text", "json")]
    beside = [name for name in texts if per_folder[posixpath.dirname(name)]]  # a readme elsewhere says nothing
    alone = all(split(name)[0] not in keys and per_folder[posixpath.dirname(name)] == 1 for name in beside)
    return bool(beside) and alone and len(per_folder) > 1 and "" not in per_folder


def _middle(extension: str) -> str:
    """`left` of `left.jpg`; empty for `jpg`."""
    return extension.rpartition(".")[0]


def _is_image(extension: str) -> bool:
    return kind_of(extension) == "image"


def _at_the_last_dot(name: str, images: Set[str]) -> tuple[str, str]:
    """`a.1.jpg` -> `a.1`, and so does its `a.1.jpg.txt`."""
    folder, slash, base = name.rpartition("/")
    key, dot, extension = base.rpartition(".")
    if folder + slash + key in images:
        key, _, image = key.rpartition(".")
        extension = f"{image}.{extension}"
    return (folder + slash + key, extension) if dot else (name, "")


def _at_the_folder(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    return (folder, base) if slash else split_name(name)


def _is_hidden(key: str) -> bool:
    base = key.rpartition("/")[2]
    return not base or (base.startswith("__") and base.endswith("__")) or "__MACOSX/" in key
