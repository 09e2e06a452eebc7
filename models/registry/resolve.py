"""From the name of a model to what can be known of it without torch: where it is, its role, the pixels it wants.

| name | what it is |
|---|---|
| `demo-captioner`, `demo-filter`, `demo-language` | a checkpoint that ships |
| a directory | a MED or Q-Former of ours, or a model as `transformers` or open_clip saves it |
| `open_clip:ARCHITECTURE:TAG` or `:FILE` | an open_clip model by open_clip's own names, or with weights of a file |
| `owner/model`, `owner/model@revision` | a model of the hub |
"""

from pathlib import Path
from typing import Final

from capfilt.core.errors import ModelError
from capfilt.models.formats import hub, open_clip_source
from capfilt.models.formats.checkpoint import ADAPTER, CONFIG, PICKLED, read_config
from capfilt.models.formats.model_info import ModelInfo
from capfilt.models.refusal import refused_in_a_line
from capfilt.models.registry.catalog import SHIPPED
from capfilt.models.registry.families import Checkpoint, family_of

CHECKPOINTS: Final = Path(__file__).parent.parent / "checkpoints"


def resolve(name: str, max_side: int = 768) -> ModelInfo:
    """What is known of a model.

    Args:
        max_side: pixels of the longer side that models which take images of any shape are shown.

    Raises:
        ModelError: no such model, or one of no use here; one line.
    """
    with refused_in_a_line(name):
        checkpoint = _checkpoint(name, max_side)
        return family_of(checkpoint).describe(checkpoint)


def _checkpoint(name: str, max_side: int) -> Checkpoint:
    if name.startswith(open_clip_source.PREFIX):
        source = open_clip_source.from_name(name, hub.fetch, hub.fetch_settings)
        return Checkpoint(name, source.weights.parent, {}, max_side, source)
    folder = locate(name)
    if (folder / open_clip_source.CONFIG).is_file():
        # What a folder of this machine names is not fetched; a model of the hub may name its text tower there.
        fetch = None if Path(name).expanduser().is_dir() else hub.fetch_settings
        return Checkpoint(name, folder, {}, max_side, open_clip_source.from_folder(folder, fetch))
    return Checkpoint(name, folder, read_config(folder), max_side)


def locate(name: str) -> Path:
    """The directory of a model; of one of the hub after it was fetched.

    Raises:
        ModelError: there is none.
    """
    # A name that ships goes before a folder of the same name, so that a run means the same everywhere.
    if name in SHIPPED:
        return CHECKPOINTS / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / config).is_file() for config in (CONFIG, open_clip_source.CONFIG)):
            raise ModelError(f"model {name!r}: {_kind_of(folder)}")
        return folder
    if folder.is_file():
        raise ModelError(f"model {name!r}: {_kind_of(folder)}")
    if hub.HUB_NAME.fullmatch(name):
        return hub.fetch(name)
    raise ModelError(f"model {name!r} is neither a directory nor a name listed by `capfilt models`")


def _kind_of(path: Path) -> str:
    """What a path is that is no model as it is, and the command that makes one of it."""
    command = f"`capfilt convert {path} --to DIR`"
    if path.is_file():
        if path.suffix in PICKLED:
            return f"a file of pickled weights, as trainings of BLIP, LAVIS and open_clip leave them; {command}"
        return "a file, where a directory is expected" + (f"; {command}" if path.suffix == ".safetensors" else "")
    if (path / ADAPTER).is_file():
        return f"a LoRA adapter, which is no model of its own; {command} merges it"
    pickled = sorted(file for file in path.iterdir() if file.suffix in PICKLED)
    if pickled:
        return f"a directory of pickled weights without a {CONFIG}; `capfilt convert {pickled[-1]} --to DIR`"
    return f"a directory without a {CONFIG}"
