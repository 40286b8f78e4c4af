"""How the suite is spread over the processes that run it side by side (`scripts/test`)."""

import functools
import sys
from typing import Any

import pytest
import typer.testing
from xdist.scheduler import LoadFileScheduling

typer.testing._get_command = functools.cache(typer.testing._get_command)
"""The tree of commands, which is the same for every call and takes longer to build than most calls take."""
REAL = (
    "tests/lab/",
    "tests/documentation/",
    "tests/availability/test_two_controllers.py",
)
APART = "test_page_without_a_lab"
"""Pages that have no real machines."""
PAGES = "test_page_on_a_lab"
"""Pages whose commands make a lab of their own, and take minutes."""


class Spread(LoadFileScheduling):
    """Tests with real machines, and those of two controllers, which must not be starved, go one after another in one process;
    pages with a lab beside them; each other module stays whole in one."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        for group in (APART, PAGES):
            if test.startswith(group):
                return group
        return "lab" if file.startswith(REAL) else file

    def _assign_work_unit(self, node: Any) -> None:
        if PAGES in self.workqueue:  # or it would begin late, as a group of few tests, and be waited for
            self.workqueue.move_to_end(PAGES, last=False)
        super()._assign_work_unit(node)


def pytest_sessionfinish() -> None:
    """Processes of the suite end without what `atexit` has."""
    platforms = sys.modules.get("simulated_platform")
    if platforms is not None:
        platforms.clean_up()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread:
    return Spread(config, log)
