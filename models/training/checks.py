"""What the checks of several systems ask. Free of torch."""

import warnings
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from capfilt.core.errors import ConfigError, UnknownWords
from capfilt.models.formats.timm_tower import is_timm, timm_weights
from capfilt.models.registry.resolve import locate, resolve

if TYPE_CHECKING:
    from capfilt.models.tokenizer import Tokenizer

SAMPLED: Final = 10_000
"""Texts that are looked up in the vocabulary before a training."""
NOTABLE: Final = 0.05
"""Share of unknown pieces that is worth a warning; of English captions BERT's vocabulary knows almost all."""


def checkpoint_files(*names: str) -> tuple[Path, ...]:
    """The files of the checkpoints that a recipe names; an empty name is none.

    Raises:
        ModelError: one of them is not there, or not whole.
    """
    towers = [timm_weights(name) for name in names if is_timm(name)]
    named = [locate(name) for name in names if name and not is_timm(name)]
    return (*towers, *(path for folder in named for path in resolve(str(folder)).files))


def check_vocabulary(tokenizer: "Tokenizer", texts: Iterable[str], max_unknown: float) -> None:
    """Warn where a checkpoint's vocabulary does not know much of the texts: it is that of another language, say.

    Raises:
        ConfigError: it knows less than `model.max_unknown` allows; nothing could be learned.
    """
    share = tokenizer.unknown_share(islice(texts, SAMPLED))
    said = f"{share:.0%} of the texts is unknown to the vocabulary of the checkpoint"
    if share > max_unknown:
        raise ConfigError(f"{said}, more than model.max_unknown = {max_unknown:g}: start from another, or from scratch")
    if share > NOTABLE:
        warnings.warn(said, UnknownWords, stacklevel=2)
