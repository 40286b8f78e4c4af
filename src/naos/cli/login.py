"""`naos login`: how people log in with a browser. The commands themselves work with tokens; see `naos token`."""

from pathlib import Path
from typing import Annotated

import typer

from naos.cli import identity, naming, options
from naos.cli.client import connect
from naos.cli.identity import IAM, UserName
from naos.cli.naming import Kind
from naos.cli.options import AsCsv, AsJson, Yes, completes
from naos.cli.output import field, json_out, moment, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Log-ins with a browser: links for local accounts, identity providers.")
PROVIDER = Kind("identity provider", f"{IAM}/identity_providers", "naos login providers", by_name=False)
PROVIDERS = (
    field("NAME", "name"),
    field("ISSUER", "issuer"),
    field("CLIENT", "clientId"),
    field("TRUSTS MAIL", "trustEmail"),
    field("REDIRECT TO REGISTER", "redirectUri"),
    field("ID", "id"),
)
LINK = (field("ADDRESS", "address"), field("EXPIRES", "expiresAt", show=moment), field("USER", "userId"))
ProviderName = Annotated[
    str,
    typer.Argument(
        metavar="PROVIDER", help="Name or id of the provider.", autocompletion=completes(PROVIDER), show_default=False
    ),
]


@app.command(epilog="Example: naos login link grace@example.org")
def link(context: typer.Context, *, user: UserName, as_json: AsJson = False) -> None:
    """Give a user a link to set password and second factor up, or up again. For organisation owners."""
    with connect(context) as api:
        found = identity.find_user(api, user)
        made = api.change("POST", f"{identity.USER.path}/{found['id']}/login_link")
    show_object(made, LINK, as_json=as_json)


@app.command(epilog="Example: naos login providers")
def providers(context: typer.Context, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the OpenID providers that the organisation trusts."""
    with connect(context) as api:
        found = api.get(PROVIDER.path)
    show_list(found, PROVIDERS, as_json=as_json, as_csv=as_csv)


@app.command(epilog="Example: naos login trust Campus https://id.example.org --client naos --secret-file secret.txt")
def trust(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people know it by.", show_default=False)],
    issuer: Annotated[str, typer.Argument(metavar="ISSUER", help="Its issuer, an https address.", show_default=False)],
    client: Annotated[str, typer.Option(help="The id that the provider knows this platform by.", show_default=False)],
    secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File with the client's secret; left out, it is asked for.", show_default=False
        ),
    ] = None,
    trust_email: Annotated[
        bool, typer.Option("--trust-email", help="It verifies every mail address, though it does not say so.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Trust an OpenID provider to tell who the organisation's users are. For organisation owners."""
    secret = (
        secret_file.read_text().strip() if secret_file else typer.prompt("Client secret", hide_input=True, err=True)
    )
    body = {"name": name, "issuer": issuer, "clientId": client, "clientSecret": secret, "trustEmail": trust_email}
    with connect(context) as api:
        made = api.change("POST", PROVIDER.path, body)
    show_object(made, PROVIDERS, as_json=as_json)


@app.command(epilog="Example: naos login distrust Campus")
def distrust(context: typer.Context, *, provider: ProviderName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Trust a provider no more. Its users are not deleted; sessions that are open go on until they end."""
    with connect(context) as api:
        found = naming.find(api, PROVIDER, provider)
        options.confirm(f"Trust {found['name']} no more?", yes=yes)
        ended = api.change("DELETE", f"{PROVIDER.path}/{found['id']}")
        note(f"{found['name']} is trusted no more.")
    if as_json:
        json_out(ended)
