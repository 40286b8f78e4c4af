"""`naos organisation`: what tenants and users belong to, and who owns it."""

import typer

from naos.cli import identity, options
from naos.cli.client import Api, connect
from naos.cli.identity import IAM, USERS, UserName
from naos.cli.options import AsCsv, AsJson, Yes
from naos.cli.output import field, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="The organisation: its tenants, its users, its owners.")

SHOW = (
    field("NAME", "name"),
    identity.people("OWNERS", "owners"),
    identity.people("TENANTS", "tenants"),
    field("USERS", "users"),
    field("ID", "id"),
)


@app.command(epilog="Example: naos organisation show")
def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show the organisation of the token."""
    with connect(context) as api:
        path = _path(api)
        found = {
            **api.get(path),
            "owners": api.get(f"{path}/owners"),
            "tenants": api.get(f"{IAM}/tenants"),
            "users": len(api.get(f"{IAM}/users")),
        }
    show_object(found, SHOW, as_json=as_json)


@app.command("add-owner", epilog="Example: naos organisation add-owner grace@example.org")
def add_owner(
    context: typer.Context, *, user: UserName, yes: Yes = False, as_json: AsJson = False, as_csv: AsCsv = False
) -> None:
    """Make a user an owner of the organisation, and so of each of its tenants."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        options.confirm(f"Give {found['name']} every right in every tenant of the organisation?", yes=yes)
        owners = api.change("PUT", f"{_path(api)}/owners/{found['id']}")
        note(f"{found['name']} owns the organisation.")
    show_list(owners, USERS, as_json=as_json, as_csv=as_csv)


@app.command("remove-owner", epilog="Example: naos organisation remove-owner grace@example.org")
def remove_owner(context: typer.Context, *, user: UserName, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Take the ownership of the organisation from another owner; what they hold in tenants by other ways stays."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        owners = api.change("DELETE", f"{_path(api)}/owners/{found['id']}")
        note(f"{found['name']} no longer owns the organisation.")
    show_list(owners, USERS, as_json=as_json, as_csv=as_csv)


def _path(api: Api) -> str:
    return f"{IAM}/companies/{identity.own_tenant(api)['companyId']}"
