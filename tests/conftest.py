"""How the suite is spread over the processes that run it side by side (`scripts/test`)."""

import pytest


@pytest.hookimpl(tryfirst=True)  # before the hook that reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with real machines go one after another in one process; other modules each stay whole in one."""
    for item in items:
        real = item.get_closest_marker("lab") is not None
        item.add_marker(pytest.mark.xdist_group("lab" if real else str(item.path)))
