"""Visual question answering: what it is, and what it needs."""

from typing import Final

from capfilt.models.systems.med import system as med
from capfilt.models.training.settings import Dropout, Objectives
from capfilt.models.training.system import System

VQA: Final = System(
    name="vqa",
    about="answers",
    example="--start BASE",
    package="vqa",
    check=med.check_start,  # it starts from what a MED starts from
    reads="questions",
    sections={"objectives": Objectives, "dropout": Dropout},
    defaults={"data": {"sources": ["human"]}},
)
