"""What `capfilt train` can train; nothing else names a system.

The command's choices and help, the recipe's sections and schema, the checks, `capfilt models` and the test matrix read
this table. A new system is a folder beside this file and a line in it.
"""

from typing import Final

from capfilt.models.systems.alpha.system import ALPHA_CLIP
from capfilt.models.systems.beit.system import BEIT
from capfilt.models.systems.dual.system import CLIP, FLIP, LIT, SIGLIP
from capfilt.models.systems.flamingo.system import FLAMINGO
from capfilt.models.systems.llava.system import LLAVA, LLAVA_TUNE
from capfilt.models.systems.mae.system import MAE
from capfilt.models.systems.med.system import CAPTIONER, FILTER, MED
from capfilt.models.systems.qformer.system import QFORMER
from capfilt.models.systems.vqa.system import VQA
from capfilt.models.training.system import System

_SYSTEMS: Final[tuple[System, ...]] = (
    MED,
    CAPTIONER,
    FILTER,
    VQA,
    QFORMER,
    CLIP,
    FLIP,
    SIGLIP,
    LIT,
    ALPHA_CLIP,
    MAE,
    BEIT,
    LLAVA,
    LLAVA_TUNE,
    FLAMINGO,
)

SYSTEMS: Final = {system.name: system for system in _SYSTEMS}
