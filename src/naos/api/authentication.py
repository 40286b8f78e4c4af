"""Who may call: a dependency for each route that names the permissions it needs.

    identity: Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]

The permissions are shown beside the operation in the API's description (`x-permissions`), and a test walks every route
without a token and with each permission missing.
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from fastapi.openapi.models import HTTPBearer as BearerModel
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from naos.api import auditing
from naos.api.client_address import client_address
from naos.api.short_reads import shortly
from naos.identity import Identity, PermissionMissing, Unauthenticated

Identify = Callable[[str, str | None], Identity]
"""What tells whom a bearer token, sent from a client's address, proves; raises Unauthenticated, AddressRefused.

`create_app` keeps it as `app.state.identify`.
"""


class Bearer(SecurityBase):
    """Takes the token out of the header `Authorization: Bearer`, and from nowhere else: addresses end up in logs."""

    def __init__(self) -> None:
        self.model = BearerModel(
            bearerFormat="JWT",
            description="The answer of POST /iam/v2/auth/personal_access_token; it lives half an hour.",
        )
        self.scheme_name = "session"

    async def __call__(self, connection: HTTPConnection) -> str:
        return bearer_of(connection)


def bearer_of(connection: HTTPConnection) -> str:
    """Raises Unauthenticated."""
    scheme, token = get_authorization_scheme_param(connection.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("this call needs the header `Authorization: Bearer <session>`")
    return token


_bearer = Bearer()


class Requirement:
    """The dependency that `require` makes. `groups`: of each group the caller must hold at least one permission."""

    def __init__(self, groups: tuple[tuple[str, ...], ...]) -> None:
        self.groups = groups

    async def __call__(self, connection: HTTPConnection, token: Annotated[str, Depends(_bearer)]) -> Identity:
        if auditing.is_read(connection.scope):
            return await shortly(connection.app.state.services.database, self.admit, connection, token)
        return await run_in_threadpool(self.admit, connection, token)  # a write is committed to the audit log

    def admit(self, connection: HTTPConnection, token: str) -> Identity:
        """Raises Unauthenticated, AddressRefused, PermissionMissing."""
        identify: Identify = connection.app.state.identify
        identity = identify(token, client_address(connection))
        missing = [group for group in self.groups if identity.permissions.isdisjoint(group)]
        auditing.identified(connection, identity, self.groups, refused=bool(missing))
        if missing:
            raise PermissionMissing(" and ".join(map(alternatives, missing)))
        return identity


def require(*permissions: str | tuple[str, ...]) -> Requirement:
    """A dependency that yields the caller's Identity, for callers who hold all of `permissions`.

    A tuple among them stands for alternatives, of which one suffices. It raises Unauthenticated (401) and
    PermissionMissing (403).
    """
    return Requirement(tuple((item,) if isinstance(item, str) else item for item in permissions))


def alternatives(group: tuple[str, ...]) -> str:
    return " or ".join(group)
