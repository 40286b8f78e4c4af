"""`naos user`: accounts of the organisation, and what they may do in the token's tenant."""

from typing import Annotated

import typer

from naos.cli import identity, options
from naos.cli.client import Api, Json, connect
from naos.cli.identity import IAM, USER, USERS, Permissions, UserName
from naos.cli.options import AsCsv, AsJson, Yes
from naos.cli.output import field, json_out, moment, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Accounts, and their rights in the token's tenant.")

SHOW = (*USERS[:-1], field("RIGHTS", "permissions"), field("ID", "id"))
INVITED = (
    field("NAME", "user", "name"),
    field("MAIL", "user", "email"),
    field("TOKEN", "invitation", "token"),
    field("VALID UNTIL", "invitation", "expiresAt", show=moment),
    field("ID", "user", "id"),
)
PERMISSIONS = (field("NAME", "name"), field("DESCRIPTION", "description"), field("ID", "id"))


@app.command("list", epilog="Example: naos user list")
def list_users(context: typer.Context, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the organisation's accounts."""
    with connect(context) as api:
        found = api.get(USER.path)
    show_list(found, USERS, as_json=as_json, as_csv=as_csv)


@app.command(epilog="Example: naos user show grace@example.org")
def show(context: typer.Context, *, user: UserName, as_json: AsJson = False) -> None:
    """Show an account, and its rights in the token's tenant."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        _show(api, found, as_json=as_json)


@app.command(epilog="Example: naos user invite 'Grace Hopper' grace@example.org")
def invite(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The person's name.", show_default=False)],
    email: Annotated[str, typer.Argument(metavar="MAIL", help="The person's mail address.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Make an account without any rights. Hand the shown token to the person: it confirms the address, once."""
    with connect(context) as api:
        made = api.change("POST", USER.path, {"name": name, "email": email})
    show_object(made, INVITED, as_json=as_json)


@app.command("invite-again", epilog="Example: naos user invite-again grace@example.org")
def invite_again(context: typer.Context, *, user: UserName, as_json: AsJson = False) -> None:
    """Make a new invitation of an account that is not confirmed; the one before is void."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        made = api.change("POST", f"{USER.path}/{found['id']}/invitations")
    show_object(made, INVITED, as_json=as_json)


@app.command(epilog="Example: naos user verify TOKEN")
def verify(
    context: typer.Context,
    *,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token of the invitation.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Confirm the mail address of an invited account."""
    with connect(context) as api:
        confirmed = api.change("POST", f"{IAM}/auth/verification", {"token": token})
        note(f"Confirmed {confirmed['email']}.")
    show_object(confirmed, USERS, as_json=as_json)


@app.command(epilog="Example: naos user rename grace@example.org 'Grace Hopper'")
def rename(
    context: typer.Context,
    *,
    user: UserName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Rename an account."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        show_object(api.change("PATCH", f"{USER.path}/{found['id']}", {"name": name}), USERS, as_json=as_json)


@app.command(epilog="Example: naos user permissions")
def permissions(context: typer.Context, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List every permission that there is."""
    with connect(context) as api:
        found = api.get(f"{IAM}/roles")
    show_list(found, PERMISSIONS, as_json=as_json, as_csv=as_csv)


@app.command(epilog="Example: naos user grant grace@example.org compute_iaas_vmware_read network_read")
def grant(context: typer.Context, *, user: UserName, permission: Permissions, as_json: AsJson = False) -> None:
    """Give a user permissions in the token's tenant, each of which the token must carry too."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        body: Json = {
            "userId": found["id"],
            "tenantId": identity.own_tenant(api)["id"],
            "roleIds": identity.role_ids(api, permission),
        }
        api.change("POST", f"{IAM}/assignments/tenant", body)
        _show(api, found, as_json=as_json)


@app.command(epilog="Example: naos user withdraw grace@example.org network_read")
def withdraw(context: typer.Context, *, user: UserName, permission: Permissions, as_json: AsJson = False) -> None:
    """Take permissions in the token's tenant back; the user's tokens lose them with their next call."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        roles = "".join(f"&roleId={role}" for role in identity.role_ids(api, permission))
        place = f"userId={found['id']}&tenantId={identity.own_tenant(api)['id']}"
        api.change("DELETE", f"{IAM}/assignments/tenant?{place}{roles}")
        _show(api, found, as_json=as_json)


@app.command(epilog="Example: naos user delete grace@example.org")
def delete(context: typer.Context, *, user: UserName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete an account that owns nothing, with its rights and tokens."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        options.confirm(f"Delete the account of {found['name']} ({found['email']})?", yes=yes)
        ended = api.change("DELETE", f"{USER.path}/{found['id']}")
        note(f"Deleted the account of {found['name']}.")
    if as_json:
        json_out(ended)


def _show(api: Api, user: Json, *, as_json: bool) -> None:
    held = [role["name"] for role in identity.held(api, user["id"])]
    show_object({**user, "permissions": held}, SHOW, as_json=as_json)
