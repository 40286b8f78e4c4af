"""A furnished platform whose two cpools of two blades each have high availability, with room kept for no loss."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, Platform, furnished_in


@pytest.fixture(scope="module")
def available(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("platform")
    with furnished_in(folder) as platform:
        for zone in ("AZ05", "AZ06"):
            pool = platform.made[f"pool-{zone}"]
            platform.done("PATCH", f"{COMPUTE}/host_clusters/{pool}/availability", {"enabled": True})
        with platform.services.database.write() as session:
            session.execute(sa.text("UPDATE cpools SET memory = :memory").bindparams(memory=8 * GIB))
        yield platform
