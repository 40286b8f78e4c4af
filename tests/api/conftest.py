"""Fixtures of the API's tests; see `api_platform`."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from api_platform import Clock, FakeEngine, Platform

from naos.addresses import Network
from naos.api.app import area_routers, create_app
from naos.api.services import Services
from naos.database import Base, Database
from naos.inventory.catalogues import load_blades, load_storage
from naos.inventory.model import Inventory
from naos.settings import Settings
from naos.tenancy.bootstrap import bootstrap
from naos.world import World


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every table and nothing in them: copying it is quicker than making them."""
    area_routers()  # their tables are known once their modules are
    path = tmp_path_factory.mktemp("empty") / "naos.db"
    database = Database(f"sqlite:///{path}")
    Base.metadata.create_all(database.engine)
    database.close()
    return path


@pytest.fixture
def build(tmp_path: Path, empty: Path) -> Iterator[Callable[..., Platform]]:
    """Makes a platform; `requests_per_second` sets its rate limit (None: off)."""
    databases = []

    def make(*, requests_per_second: float | None = None, trusted_proxies: tuple[Network, ...] = ()) -> Platform:
        shutil.copy(empty, tmp_path / "naos.db")
        database = Database(f"sqlite:///{tmp_path}/naos.db")
        databases.append(database)
        settings = Settings(
            home=tmp_path,
            database_url=database.url,
            inventory=tmp_path / "inventory.toml",
            token_lifetime_seconds=1800,
            credentials=tmp_path / "credentials",
            requests_per_second=requests_per_second,
            trusted_proxies=trusted_proxies,
        )
        world = World(database, cast(Any, None), Inventory(regions=[]), load_blades(), load_storage(), settings)
        clock = Clock()
        services = Services(world, cast(Any, FakeEngine(database)), controller_id="controller-1")
        app = create_app(services, now=clock.now, monotonic=clock.monotonic)
        with database.write() as session:
            first = bootstrap(
                session,
                organisation="Cloud",
                tenant="Production",
                owner_name="Ada",
                owner_email="ada@example.org",
            )
        return Platform(app, services, clock, first)

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def platform(build: Callable[..., Platform]) -> Platform:
    return build()
