"""How the suite is spread over the processes that run it side by side (`scripts/test`)."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

REAL = (
    "tests/lab/",
    "tests/documentation/",
    "tests/availability/test_two_controllers.py",
)


APART = "test_page_without_a_lab"
"""Pages that have no real machines."""


class Spread(LoadFileScheduling):
    """Tests with real machines, and those of two controllers, which must not be starved, go one after another in one process;
    each other module stays whole in one."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if test.startswith(APART):
            return APART
        return "lab" if file.startswith(REAL) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread:
    return Spread(config, log)
