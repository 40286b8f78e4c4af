"""`naos token`: personal access tokens, which programs log in with."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from naos.cli import identity, naming, options
from naos.cli.client import Json, connect
from naos.cli.identity import TENANT, TOKEN
from naos.cli.options import AsCsv, AsJson, Yes, completes
from naos.cli.output import Column, field, json_out, moment, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Personal access tokens: each of one user, for one tenant.")


def _moment(milliseconds: str | None) -> str:
    if not milliseconds:
        return ""
    return moment(datetime.fromtimestamp(int(milliseconds) / 1000, UTC).isoformat())


LIST = (
    field("NAME", "name"),
    field("EXPIRES", "expirationDate", show=_moment),
    Column("PERMISSIONS", lambda token: len(token["roles"]), right=True),
    field("USER", "user"),
    field("ID", "id"),
)
SHOW = (
    field("NAME", "name"),
    field("SECRET", "secret"),
    field("EXPIRES", "expirationDate", show=_moment),
    field("TENANT", "tenantName"),
    field("PERMISSIONS", "permissions"),
    field("ID", "id"),
)
TokenName = Annotated[
    str,
    typer.Argument(
        metavar="TOKEN", help="Name or id of the token.", autocompletion=completes(TOKEN), show_default=False
    ),
]


@app.command("list", epilog="Example: naos token list")
def list_tokens(context: typer.Context, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List one's tokens in the token's tenant; those of everybody in it for a holder of iam_write."""
    with connect(context) as api:
        found = api.get(TOKEN.path)
        users = {} if as_json else {user["id"]: user["name"] for user in api.get(f"{identity.IAM}/users")}
    shown = found if as_json else [{**token, "user": users.get(token["userId"])} for token in found]
    show_list(shown, LIST, as_json=as_json, as_csv=as_csv)


@app.command(epilog="Example: naos token show backup")
def show(context: typer.Context, *, token: TokenName, as_json: AsJson = False) -> None:
    """Show a token, without its secret."""
    with connect(context) as api:
        found = naming.find(api, TOKEN, token)
        names = {} if as_json else identity.role_names(api)
    shown = found if as_json else {**found, "permissions": [names.get(role, role) for role in found["roles"]]}
    show_object(shown, SHOW, as_json=as_json)


@app.command(
    epilog="Example: naos token create reader --permission compute_iaas_vmware_read --days 90 --save reader.key"
)
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new token.", show_default=False)],
    permission: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A permission that it carries; left out, all that one holds.", show_default=False
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="How long it lives.")] = 90,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Tenant to make it for; left out, the present token's.",
            autocompletion=completes(TENANT),
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write `<id>:<secret>` to this file, for --credentials, instead of showing the secret.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. Its secret is shown this once, or saved."""
    with connect(context) as api:
        body: Json = {"name": name}
        place = naming.find(api, TENANT, tenant) if tenant is not None else identity.own_tenant(api)
        body["roles"] = identity.role_ids(api, permission) if permission else identity.carried(api, place["id"])
        body["expirationDate"] = int((datetime.now(UTC) + timedelta(days=days)).timestamp() * 1000)
        if tenant is not None:
            body["tenantId"] = place["id"]
        made = api.change("POST", TOKEN.path, body)
        names = {} if as_json else identity.role_names(api)
    if save is not None:
        from naos.tenancy.bootstrap import save_credential

        save_credential(save, made["id"], made.pop("secret"))
        note(f"Saved to {save}.")
    shown = made if as_json else {**made, "permissions": [names.get(role, role) for role in made["roles"]]}
    show_object(shown, SHOW, as_json=as_json)


@app.command(epilog="Example: naos token delete reader")
def delete(context: typer.Context, *, token: TokenName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a token; its sessions end with their next call."""
    with connect(context) as api:
        found = naming.find(api, TOKEN, token)
        options.confirm(f"Delete token {found['name']}?", yes=yes)
        ended = api.change("DELETE", f"{TOKEN.path}/{found['id']}")
        note(f"Deleted token {found['name']}.")
    if as_json:
        json_out(ended)
