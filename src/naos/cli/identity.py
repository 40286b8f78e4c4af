"""What the nouns of identities share: looking up tenants, users and permissions by what people call them."""

import base64
import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from naos.cli import naming
from naos.cli.client import Api, Json
from naos.cli.failures import Failure
from naos.cli.naming import Kind
from naos.cli.options import completes
from naos.cli.output import Column, field, text

IAM = "/iam/v2"
TENANT = Kind("tenant", f"{IAM}/tenants", "naos tenant list", by_name=False)
USER = Kind("user", f"{IAM}/users", "naos user list", by_name=False)
TOKEN = Kind("token", f"{IAM}/personal_access_tokens", "naos token list", by_name=False)

TenantName = Annotated[
    str,
    typer.Argument(
        metavar="TENANT", help="Name or id of the tenant.", autocompletion=completes(TENANT), show_default=False
    ),
]
UserName = Annotated[
    str,
    typer.Argument(
        metavar="USER", help="Name, mail address or id of the user.", autocompletion=completes(USER), show_default=False
    ),
]
Permissions = Annotated[
    list[str],
    typer.Argument(metavar="PERMISSION...", help="Permissions by name, as `naos user permissions` lists them."),
]

USERS = (
    field("NAME", "name"),
    field("MAIL", "email"),
    field("CONFIRMED", "emailVerified"),
    field("TYPE", "type"),
    field("ID", "id"),
)


def people(title: str, key: str) -> Column:
    """A column of users by name."""
    return Column(title, lambda item: [each["name"] for each in item.get(key) or []], text)


def own_tenant(api: Api) -> Json:
    """The tenant of the session."""
    found: Json = api.get(TENANT.path)[0]
    return found


def find_user(api: Api, reference: str) -> Json:
    """A user by mail address, name or id. Raises Failure when there is none or more than one."""
    every: list[Json] = api.get(USER.path)
    mail = reference.strip().casefold()
    by_mail = [user for user in every if user["email"].casefold() == mail]
    return by_mail[0] if len(by_mail) == 1 else naming.choose(USER, reference, every)


def role_ids(api: Api, names: Iterable[str]) -> list[str]:
    """Ids of permissions, in the order of their names. Raises Failure for a name that is none."""
    known = {role["name"]: role["id"] for role in api.get(f"{IAM}/roles")}
    wanted = list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise Failure(f"There is no permission {unknown[0]!r}; `naos user permissions` lists them all.")
    return [known[name] for name in wanted]


def role_names(api: Api) -> dict[str, str]:
    """Names of permissions by id."""
    return {role["id"]: role["name"] for role in api.get(f"{IAM}/roles")}


def held(api: Api, user_id: str) -> list[dict[str, Any]]:
    """The permissions that a user holds in the session's tenant."""
    given = api.get(f"{IAM}/assignments/tenant", userId=user_id, tenantId=own_tenant(api)["id"])
    mine = {each["roleId"] for each in given}
    return [role for role in api.get(f"{IAM}/roles") if role["id"] in mine]


def carried(api: Api, tenant_id: str) -> list[str]:
    """Ids of the permissions that the present token carries and its user holds in a tenant, too."""
    payload = api.session().split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    roles: list[str] = api.get(f"{TOKEN.path}/{claims['patId']}")["roles"]
    given = api.get(f"{IAM}/assignments/tenant", userId=claims["userId"], tenantId=tenant_id)
    mine = {each["roleId"] for each in given}
    return [role for role in roles if role in mine]
