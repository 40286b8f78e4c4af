"""`naos notice`: who is told, by mail or at a web address, what goes wrong in backup."""

import time
from typing import Annotated

import typer

from naos.cli import options
from naos.cli.client import Api, Json, connect
from naos.cli.naming import Kind, find, find_id
from naos.cli.options import AsCsv, AsJson, Yes, completes
from naos.cli.output import Column, field, note, plain, show_list, show_object, since_epoch
from naos.cli.policy import BACKUP

app = typer.Typer(no_args_is_help=True, help="Notices of backup: mail, signed requests, the daily digest.")

TARGET = Kind("notice target", f"{BACKUP}/notice_targets", "naos notice list")
NOTICES = f"{BACKUP}/notices"
LONGEST_WAIT = 60.0
EVENTS = "run_failed, run_completed, run_overran, point_damaged, boot_failed, quota, digest"


def _where(target: Json) -> str:
    if target["webhook"] is not None:
        return str(target["webhook"]["url"])
    mail = target["mail"]
    return f"{', '.join(mail['recipients'])} at {mail['server']}:{mail['port']} ({mail['security']})"


TARGETS = (
    field("NAME", "name"),
    Column("TO", _where, plain),
    field("EVENTS", "events"),
    field("ENABLED", "enabled"),
    field("DIGEST AT", "digestAt"),
    field("TIME ZONE", "timeZone"),
    field("GIVEN UP", "failures", right=True),
    field("ID", "id"),
)
SENT = (
    field("WRITTEN", "createdAt", show=since_epoch),
    field("EVENT", "event"),
    field("SUBJECT", "subject"),
    field("STATE", "state"),
    field("ATTEMPTS", "attempts", right=True),
    field("REASON", "reason"),
    field("ID", "id"),
)
TargetName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name or id of the target.", autocompletion=completes(TARGET), show_default=False
    ),
]
Events = Annotated[
    list[str] | None, typer.Option("--event", metavar="EVENT", help=f"Be told of this: {EVENTS}.", show_default=False)
]
DigestAt = Annotated[
    str | None, typer.Option("--digest-at", metavar="HH:MM", help="When the digest comes.", show_default=False)
]
Zone = Annotated[
    str | None, typer.Option("--time-zone", metavar="ZONE", help="On the clock of this zone.", show_default=False)
]
SecretFile = typer.FileText


def _secret(file: SecretFile | None) -> str | None:
    """What stands in a file, `-` for standard input: secrets do not belong into a command's words."""
    return None if file is None else file.read().strip()


def _body(events: list[str] | None, digest_at: str | None, zone: str | None, **more: object) -> Json:
    given = {"events": events or None, "digestAt": digest_at, "timeZone": zone, **more}
    return {key: value for key, value in given.items() if value is not None}


@app.command("list", epilog="Example: naos notice list")
def list_targets(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List whom the tenant wants told."""
    with connect(context) as api:
        found = api.get(TARGET.path)
    show_list(found, TARGETS, as_json=as_json, as_csv=as_csv, empty="Nobody is told of anything.")


@app.command("add-webhook", epilog="Example: naos notice add-webhook pager https://example.org/naos --secret-file key")
def add_webhook(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new target.", show_default=False)],
    url: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where requests are sent.", show_default=False)],
    secret: Annotated[
        SecretFile,
        typer.Option("--secret-file", metavar="FILE", help="File of the key that signs them, - for standard input."),
    ],
    event: Events = None,
    digest_at: DigestAt = None,
    time_zone: Zone = None,
    as_json: AsJson = False,
) -> None:
    """Send signed requests to a web address."""
    webhook = {"url": url, "secret": _secret(secret)}
    _add(context, _body(event, digest_at, time_zone, name=name, webhook=webhook), as_json=as_json)


@app.command("add-mail", epilog="Example: naos notice add-mail team ops@example.org --server mail.example.org")
def add_mail(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new target.", show_default=False)],
    recipients: Annotated[
        list[str], typer.Argument(metavar="ADDRESS...", help="Who gets the mail.", show_default=False)
    ],
    server: Annotated[str, typer.Option(metavar="HOST", help="The mail server.", show_default=False)],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = 587,
    security: Annotated[str, typer.Option(help="starttls, tls, or none in the operator's own networks.")] = "starttls",
    sender: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Who it is from; else the first recipient.", show_default=False),
    ] = None,
    user: Annotated[str, typer.Option(help="Whom the mail server knows.", show_default=False)] = "",
    password: Annotated[
        SecretFile | None,
        typer.Option("--password-file", metavar="FILE", help="File of the password, - for standard input."),
    ] = None,
    event: Events = None,
    digest_at: DigestAt = None,
    time_zone: Zone = None,
    as_json: AsJson = False,
) -> None:
    """Send mail."""
    mail: Json = {
        "server": server,
        "port": port,
        "security": security,
        "sender": sender or recipients[0],
        "user": user,
        "recipients": recipients,
    }
    if password is not None:
        mail["password"] = _secret(password)
    _add(context, _body(event, digest_at, time_zone, name=name, mail=mail), as_json=as_json)


def _add(context: typer.Context, body: Json, *, as_json: bool) -> None:
    with connect(context) as api:
        made = api.change("POST", TARGET.path, body)
        note(f"Added notice target {plain(made['name'])}; try it: naos notice test {plain(made['name'])}.")
        show_object(made, TARGETS, as_json=as_json)


@app.command(epilog="Example: naos notice change pager --event digest --digest-at 08:30 --time-zone Europe/Paris")
def change(
    context: typer.Context,
    *,
    name: TargetName,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="Call it so.", show_default=False)] = None,
    event: Events = None,
    digest_at: DigestAt = None,
    time_zone: Zone = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it is told.", show_default=False)
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="Another web address, or who gets the mail from now on.", show_default=False
        ),
    ] = None,
    secret: Annotated[
        SecretFile | None,
        typer.Option(
            "--secret-file", metavar="FILE", help="File of another key, or of the mail server's other password."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what a target is told of, when, and where it is."""
    body = _body(event, digest_at, time_zone, name=rename, enabled=enable)
    with connect(context) as api:
        present = find(api, TARGET, name)
        if to or secret is not None:
            body |= _moved(present, to or [], _secret(secret))
        show_object(api.change("PATCH", f"{TARGET.path}/{present['id']}", body), TARGETS, as_json=as_json)


def _moved(present: Json, to: list[str], secret: str | None) -> Json:
    """What a change says of the way: what is not changed, but for the secret, is said again."""
    if present["webhook"] is not None:
        if len(to) > 1:
            raise typer.BadParameter("a webhook has one address", param_hint="--to")
        changed = {"url": to[0]} if to else {}
        return {"webhook": {**present["webhook"], **changed, **({} if secret is None else {"secret": secret})}}
    changed_mail = {"recipients": to} if to else {}
    return {"mail": {**present["mail"], **changed_mail, **({} if secret is None else {"password": secret})}}


@app.command("test", epilog="Example: naos notice test pager")
def try_target(context: typer.Context, *, name: TargetName, as_json: AsJson = False) -> None:
    """Send a test notice, and say what became of it."""
    with connect(context) as api:
        made = api.change("POST", f"{TARGET.path}/{find_id(api, TARGET, name)}/test")
        found = _tried(api, made["id"])
        show_object(found, SENT, as_json=as_json)
        if found["state"] != "delivered":
            raise typer.Exit(1)


def _tried(api: Api, notice_id: str) -> Json:
    """The notice once it was tried."""
    until = time.monotonic() + LONGEST_WAIT
    while True:
        found: Json = api.get(f"{NOTICES}/{notice_id}")
        if found["attempts"] or time.monotonic() > until:
            return found
        api.connection.sleep(0.2)


@app.command(epilog="Example: naos notice sent --target pager")
def sent(
    context: typer.Context,
    *,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="To this target only.", autocompletion=completes(TARGET), show_default=False),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the notices of late, the newest first, and what became of them."""
    with connect(context) as api:
        found = api.get(NOTICES, targetId=None if target is None else find_id(api, TARGET, target))
    show_list(found, SENT, as_json=as_json, as_csv=as_csv, empty="Nothing was written yet.")


@app.command(epilog="Example: naos notice delete pager --yes")
def delete(context: typer.Context, *, name: TargetName, yes: Yes = False) -> None:
    """Delete a target, with what was written for it."""
    with connect(context) as api:
        found = find(api, TARGET, name)
        options.confirm(f"Delete notice target {plain(found['name'])}?", yes=yes)
        api.change("DELETE", f"{TARGET.path}/{found['id']}")
        note(f"Deleted notice target {plain(found['name'])}.")
