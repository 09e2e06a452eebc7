"""A run whose truth is known."""

import pytest

from calibration_world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("calibration") / "out")
