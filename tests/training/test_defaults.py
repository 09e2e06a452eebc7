"""Settings that recipes and model code share have one default."""

from dataclasses import fields
from typing import Any

import pytest
from pydantic import BaseModel

from capfilt.core.clients.endpoint import Endpoint
from capfilt.core.config import EndpointSettings
from capfilt.models.training.settings import AdamW, Schedule
from capfilt.training.config import OptimizerSettings, ScheduleSettings


@pytest.mark.parametrize(
    ("section", "plain", "own"),
    [(EndpointSettings, Endpoint, set()), (OptimizerSettings, AdamW, {"clip"})],
)
def test_a_section_names_the_fields_of_its_dataclass_with_their_defaults(
    section: type[BaseModel], plain: type[Any], own: set[str]
) -> None:
    assert section.model_fields.keys() - own == {field.name for field in fields(plain)}
    assert plain(**section().model_dump(exclude=own)) == plain()


def test_the_defaults_of_the_learning_rate_are_those_of_the_schedule() -> None:
    shared = ScheduleSettings().model_dump(include={field.name for field in fields(Schedule)} - {"steps"})
    assert Schedule(steps=1, **shared) == Schedule(steps=1)
    assert len(shared) == 6
