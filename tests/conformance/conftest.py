from collections.abc import Iterator
from pathlib import Path

import pytest
from provider_client import Client
from served_platform import Served, keep_inventory, served
from simulated_platform import furnished_in


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A furnished platform of three blades in each zone, reached over a socket of the loopback."""
    folder: Path = tmp_path_factory.mktemp("provider")
    keep_inventory(folder, 3)
    with furnished_in(folder, blades_per_zone=3) as platform, served(platform) as there:
        yield there


@pytest.fixture(scope="module")
def client(provider: Served) -> Iterator[Client]:
    """The provider's client, at the root without a prefix as in its own test suites."""
    made = provider.client()
    yield made
    made.close()
