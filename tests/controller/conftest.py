from collections.abc import Iterator
from pathlib import Path

import pytest
from simulated_platform import Platform, furnished_in


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A furnished platform that a module's tests share."""
    folder: Path = tmp_path_factory.mktemp("platform")
    with furnished_in(folder) as platform:
        yield platform


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A furnished platform with two free blades in each zone."""
    folder: Path = tmp_path_factory.mktemp("platform")
    with furnished_in(folder, blades_per_zone=4) as platform:
        yield platform
