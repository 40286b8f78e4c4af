"""The API on SQLite, with a labelled fake in the place of the activity engine and no rack: nothing here starts a machine."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from naos.activity.plan import Caller
from naos.api.services import Services
from naos.database import Database
from naos.identity import Identity
from naos.tenancy import members, rules, tokens
from naos.tenancy.bootstrap import Bootstrapped
from naos.tenancy.models import Assignment
from naos.tenancy.permissions import permissions


class FakeEngine:
    """Runs the check and notes who asked; it does no work. Activities are only ids."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.callers: list[Caller] = []

    def submit_now(self, check: Callable[[Any], Any], caller: Caller) -> Any:
        with self.database.write() as session:
            check(session)
        self.callers.append(caller)
        return SimpleNamespace(id=str(uuid.uuid4()))


@dataclass
class Clock:
    """A wall clock and a monotonic clock that only tests move."""

    wall: datetime = field(default_factory=lambda: datetime.now(UTC))
    ticks: float = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks


@dataclass
class Platform:
    """An API with one owner: `owner` is a client with every permission, `anyone` one without a token."""

    app: FastAPI
    services: Services
    clock: Clock
    first: Bootstrapped

    @property
    def anyone(self) -> TestClient:
        return TestClient(self.app, raise_server_exceptions=False)

    @property
    def owner(self) -> TestClient:
        return self.client(self.login(self.first.token_id, self.first.secret or ""))

    def client(self, session: str) -> TestClient:
        client = self.anyone
        client.headers["Authorization"] = f"Bearer {session}"
        return client

    def login(self, token_id: str, secret: str) -> str:
        session: str = self.app.state.authority.login(token_id, secret)
        return session

    def member(self, names: list[str], *, address: str | None = None, tenant: str = "Production") -> TestClient:
        """A client of a user who holds exactly `names` in a tenant, by a token of all of them."""
        address = address or f"{uuid.uuid4()}@example.org"
        with self.services.database.write() as session:
            company = members.ensure_organisation(session, "Cloud")
            home = members.ensure_tenant(session, company, tenant)
            user = members.ensure_user(session, company, name="Grace", email=address)
            for name in names:
                session.merge(Assignment(user_id=user.id, tenant_id=home.id, permission=name))
            creator = Identity(user.id, home.id, company.id, frozenset(names), "")
            # A token needs a role; one that its user does not hold gives nothing.
            issued = tokens.create_token(
                session,
                creator if names else Identity(user.id, home.id, company.id, frozenset({"tag_read"}), ""),
                tokens.TokenRequest(
                    name="member",
                    roles=[permissions()[name].id for name in names or ["tag_read"]],
                    expires_at=rules.to_milliseconds(self.clock.wall + timedelta(days=30)),
                ),
                self.clock.wall,
            )
        return self.client(self.app.state.authority.issue(issued.token))
