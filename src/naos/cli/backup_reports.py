"""`naos backup`: reports, and the quota of backup space."""

from pathlib import Path
from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.backup import OfMachine, OfPolicy, app, machine_of, moment
from naos.cli.client import Api, connect
from naos.cli.identity import TENANT
from naos.cli.naming import find_id, normal_id
from naos.cli.options import AsCsv, AsJson, NoWait
from naos.cli.output import Column, field, gib, note, show_list, show_object
from naos.cli.policy import BACKUP, POLICY

LACKING = (
    field("MACHINE", "name"),
    field("POLICIES", "policies"),
    field("LATEST", "latest", show=moment),
    field("REASON", "reason"),
)
QUOTA = (
    field("USED", "used", show=gib),
    field("QUOTA", "size", show=gib),
    field("ALARM", "alarm"),
    field("DAYS LEFT", "daysLeft"),
)


@app.command(epilog="Example: naos backup report --days 7 --csv")
def report(
    context: typer.Context,
    *,
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days, up to today.")] = 14,
    policy: Annotated[str | None, OfPolicy] = None,
    vm: Annotated[str | None, OfMachine] = None,
    pdf: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Write it to this file as PDF.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what happened to each machine on each day: good, damaged, failed, skipped, or nothing."""
    with connect(context) as api:
        policy_id = None if policy is None else find_id(api, POLICY, policy)
        filters = {"days": str(days), "policyId": policy_id, "virtualMachineId": machine_of(api, vm)}
        if pdf is not None:
            pdf.write_bytes(b"".join(api.stream(f"{BACKUP}/reports/matrix.pdf", filters)))
            note(f"Wrote {pdf}.")
            return
        found = api.get(f"{BACKUP}/reports/matrix", **filters)
    columns = [field("MACHINE", "name")]
    for position, day in enumerate(found["days"]):
        columns.append(Column(day, lambda row, place=position: row["days"][place]))  # type: ignore[misc]
    if as_json:
        show_object(found, (), as_json=True)
    else:
        show_list(found["machines"], columns, as_csv=as_csv, empty="Nothing ran in these days.")


@app.command(epilog="Example: naos backup unprotected")
def unprotected(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the machines of which nothing is copied."""
    with connect(context) as api:
        found = api.get(f"{BACKUP}/reports/unprotected")
    show_list(found, LACKING, as_json=as_json, as_csv=as_csv, empty="Every machine has a policy that copies it.")


@app.command(epilog="Example: naos backup stale --hours 48")
def stale(
    context: typer.Context,
    *,
    hours: Annotated[int, typer.Option(min=1, help="Without a good restore point for so long.")] = 26,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the machines under a policy without a good restore point of late, and why."""
    with connect(context) as api:
        found = api.get(f"{BACKUP}/reports/stale", hours=str(hours))
    show_list(found, LACKING, as_json=as_json, as_csv=as_csv, empty="Every machine was copied since.")


def _tenant(api: Api, reference: str) -> str:
    """An id as it is: the operator sees other organisations' tenants by nothing else."""
    return normal_id(reference) or find_id(api, TENANT, reference)


@app.command(epilog="Example: naos backup quota --set 2TiB")
def quota(
    context: typer.Context,
    *,
    wanted: Annotated[
        int | None,
        typer.Option(
            "--set", metavar="SIZE", parser=options.size, help=f"Let the tenant have so much: {options.SIZE_HELP}"
        ),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Let the tenant have as much as there is.")] = False,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="TENANT", help="Of this tenant; of another organisation by its id.", show_default=False),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Show how much the tenant may have in vaults, or set it: for the platform's operator."""
    if none and wanted is not None:
        raise typer.BadParameter("say --set or --none, not both", param_hint="--none")
    if tenant is not None and not none and wanted is None:
        raise typer.BadParameter("another tenant's quota is only set; say --set or --none", param_hint="--tenant")
    with connect(context) as api:
        if none or wanted is not None:
            query = "" if tenant is None else f"?tenantId={_tenant(api, tenant)}"
            activity = api.write("PUT", f"{BACKUP}/quota{query}", {"size": wanted})
            if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is None or tenant is not None:
                return
        show_object(api.get(f"{BACKUP}/quota"), QUOTA, as_json=as_json)
