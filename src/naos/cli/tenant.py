"""`naos tenant`: groupings of resources and rights within the organisation."""

from typing import Annotated

import typer

from naos.cli import identity, naming, options
from naos.cli.client import Api, Json, connect
from naos.cli.identity import IAM, TENANT, USERS, TenantName, UserName
from naos.cli.options import AsCsv, AsJson, Yes
from naos.cli.output import field, json_out, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Tenants: each with its own resources, rights and features.")

LIST = (field("NAME", "name"), field("SECNUMCLOUD", "snc"), field("ID", "id"))
SHOW = (
    field("NAME", "name"),
    field("DESCRIPTION", "description"),
    field("SECNUMCLOUD", "snc"),
    identity.people("OWNERS", "owners"),
    field("FEATURES", "features"),
    field("WARNINGS", "warnings"),
    field("ID", "id"),
)
Features = Annotated[
    list[str] | None,
    typer.Option(
        "--feature",
        metavar="NAME",
        help="Feature to enable, as `naos tenant available-features` lists them; left out, all of them.",
        show_default=False,
    ),
]


@app.command("list", epilog="Example: naos tenant list")
def list_tenants(context: typer.Context, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the tenants in which one holds anything, the token's own first."""
    with connect(context) as api:
        found = api.get(TENANT.path)
    show_list(found, LIST, as_json=as_json, as_csv=as_csv)


@app.command(epilog="Example: naos tenant show production")
def show(context: typer.Context, *, tenant: TenantName, as_json: AsJson = False) -> None:
    """Show a tenant, its features and its owners."""
    with connect(context) as api:
        show_object(api.get(_path(api, tenant)), SHOW, as_json=as_json)


@app.command(epilog="Example: naos tenant create test --description 'For trying' --feature iam --feature compute")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new tenant.", show_default=False)],
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.", show_default=False)] = "",
    snc: Annotated[bool, typer.Option("--secnumcloud", help="Under the stricter SecNumCloud rules, for ever.")] = False,
    feature: Features = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant and become its first owner. Make a token for it with `naos token create --tenant`."""
    with connect(context) as api:
        wanted = feature or _every_feature(api)
        body: Json = {"name": name, "description": description, "snc": snc, "features": wanted}
        made = api.change("POST", TENANT.path, body)
        note(f"Created tenant {name}.")
    show_object(made, SHOW, as_json=as_json)


@app.command(epilog="Example: naos tenant rename test trial")
def rename(
    context: typer.Context,
    *,
    tenant: TenantName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Rename a tenant."""
    with connect(context) as api:
        show_object(api.change("PATCH", _path(api, tenant), {"name": name}), SHOW, as_json=as_json)


@app.command(epilog="Example: naos tenant describe test 'For trying'")
def describe(
    context: typer.Context,
    *,
    tenant: TenantName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The new description.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Change a tenant's description."""
    with connect(context) as api:
        show_object(api.change("PATCH", _path(api, tenant), {"description": text}), SHOW, as_json=as_json)


@app.command("available-features", epilog="Example: naos tenant available-features")
def available_features(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the features that a tenant can have; one with others below stands for all of these."""
    with connect(context) as api:
        tree = api.get(f"{IAM}/features")
    if as_json:
        json_out(tree)
        return
    for feature in tree:
        print(feature["name"])
        for below in feature["subFeatures"]:
            print(f"  {below['name']}")


@app.command(epilog="Example: naos tenant features test --feature iam --feature compute_vmware")
def features(context: typer.Context, *, tenant: TenantName, feature: Features = None, as_json: AsJson = False) -> None:
    """Enable exactly the named features; one of which the tenant still has objects cannot be left out."""
    with connect(context) as api:
        body: Json = {"features": feature or _every_feature(api)}
        show_object(api.change("PUT", f"{_path(api, tenant)}/features", body), SHOW, as_json=as_json)


@app.command("add-owner", epilog="Example: naos tenant add-owner test grace@example.org")
def add_owner(
    context: typer.Context, *, tenant: TenantName, user: UserName, as_json: AsJson = False, as_csv: AsCsv = False
) -> None:
    """Make a user an owner of a tenant, with every right that its features bring."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        _show_owners(api.change("PUT", f"{_path(api, tenant)}/owners/{found['id']}"), as_json=as_json, as_csv=as_csv)


@app.command("remove-owner", epilog="Example: naos tenant remove-owner test grace@example.org")
def remove_owner(
    context: typer.Context, *, tenant: TenantName, user: UserName, as_json: AsJson = False, as_csv: AsCsv = False
) -> None:
    """Take the ownership of a tenant from another owner; the last one stays."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        _show_owners(api.change("DELETE", f"{_path(api, tenant)}/owners/{found['id']}"), as_json=as_json, as_csv=as_csv)


@app.command(epilog="Example: naos tenant delete test")
def delete(context: typer.Context, *, tenant: TenantName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete an empty tenant, with its rights and tokens."""
    with connect(context) as api:
        found = naming.find(api, TENANT, tenant)
        options.confirm(f"Delete tenant {found['name']} with its rights and tokens?", yes=yes)
        ended = api.change("DELETE", f"{TENANT.path}/{found['id']}")
        note(f"Deleted tenant {found['name']}.")
    if as_json:
        json_out(ended)


def _path(api: Api, tenant: str) -> str:
    return f"{TENANT.path}/{naming.find_id(api, TENANT, tenant)}"


def _every_feature(api: Api) -> list[str]:
    return [feature["name"] for feature in api.get(f"{IAM}/features")]


def _show_owners(found: Json, *, as_json: bool, as_csv: bool) -> None:
    for warning in found["warnings"]:
        note(f"Warning: {warning}")
    show_list(found["owners"], USERS, as_json=as_json, as_csv=as_csv)
