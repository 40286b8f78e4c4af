"""What the routes of every area work with."""

from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from naos.database import Database
from naos.engines.ports import Rack
from naos.settings import Settings
from naos.world import World


class Engine(Protocol):
    def submit_now(self, check: Any, caller: Any) -> Any: ...
    def retry_undo(self, activity_id: str) -> Any: ...


@dataclass(frozen=True)
class Services:
    """`controller_id`: which of several controllers this one is."""

    world: World
    engine: Engine
    controller_id: str

    @property
    def database(self) -> Database:
        return self.world.database

    @property
    def rack(self) -> Rack:
        return self.world.rack

    @property
    def settings(self) -> Settings:
        return self.world.settings


async def services(connection: HTTPConnection) -> Services:
    held: Services = connection.app.state.services
    return held


ServicesOf = Annotated[Services, Depends(services)]
"""A route's parameter: `services: ServicesOf`."""
