"""Fixtures of the tests with real machines."""

from collections.abc import Iterator

import pytest
from real_platform import Real, real_lab


@pytest.fixture(scope="session")
def real() -> Iterator[Real]:
    """One lab for every module that needs a whole one; each leaves the two first machines running, as it found them."""
    with real_lab() as platform:
        yield platform
