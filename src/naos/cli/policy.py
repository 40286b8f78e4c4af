"""`naos policy`: backup policies, what they are assigned to, and the inventory that backup knows machines by."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import DISK, MACHINE, Kind, find, find_id
from naos.cli.options import AsCsv, AsJson, MachineName, NoWait, Yes, completes
from naos.cli.output import Column, field, note, show_list, show_object, since_epoch

app = typer.Typer(no_args_is_help=True, help="Backup policies: where copies go, how often, and what has which.")

BACKUP = "/backup/v1/spp"
POLICY = Kind("backup policy", f"{BACKUP}/policies", "naos policy list", by_name=False)
SITE = Kind("backup site", f"{BACKUP}/sites", "naos policy sites", by_name=False)
INVENTORY = "Hypervisor Inventory"

PolicyName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name or id of the policy.", autocompletion=completes(POLICY), show_default=False
    ),
]


class Every(StrEnum):
    """The units of a rhythm, as `--every` names them."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_TRIGGERS = {Every.DAY: "DAILY", Every.WEEK: "WEEKLY", Every.MONTH: "MONTHLY"}


def _site(policy: Json) -> str:
    return ", ".join(dict.fromkeys(schedule["site"] for schedule in policy["subPolicies"]))


def _rhythm(policy: Json) -> list[str]:
    units = {trigger: unit.value for unit, trigger in _TRIGGERS.items()}
    told = []
    for schedule in policy["subPolicies"]:
        number, unit = schedule["trigger"]["frequency"], units[schedule["trigger"]["type"]]
        often = f"every {unit}" if number == 1 else f"every {number} {unit}s"
        told.append(f"{often}, kept {schedule['retention']['age']} days")
    return told or ["never"]


LIST = (
    field("NAME", "name"),
    Column("SITE", _site),
    Column("RHYTHM", _rhythm, "; ".join),
    field("HELD", "held"),
    field("ID", "id"),
)
SITES = (field("NAME", "name"), field("ID", "id"))


@app.command("list", epilog="Example: naos policy list --vm web-1")
def list_policies(
    context: typer.Context,
    *,
    vm: Annotated[
        str | None,
        typer.Option(help="Only those of a machine.", autocompletion=completes(MACHINE), show_default=False),
    ] = None,
    disk: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only those of this disk of --vm.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the policies."""
    with connect(context) as api:
        machine, own = _subject(api, vm, disk)
        found = api.get(POLICY.path, **_of(machine, own))
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="It has no backup policy.")


def _subject(api: Api, vm: str | None, disk: str | None) -> tuple[str | None, str | None]:
    """The ids of the machine and of its disk, where these are named."""
    if vm is None:
        if disk is not None:
            raise typer.BadParameter("it needs --vm, the machine that the disk is on", param_hint="--disk")
        return None, None
    machine = find_id(api, MACHINE, vm)
    return machine, None if disk is None else find_id(api, DISK, disk, virtualMachineId=machine)


def _of(machine: str | None, disk: str | None) -> dict[str, str | None]:
    """The filters for what a disk has, inherited or its own, or else for what a machine has."""
    return {"virtualMachineId": machine} if disk is None else {"virtualDiskId": disk, "inherited": "true"}


@app.command(epilog="Example: naos policy sites")
def sites(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the sites: zones that have a vault."""
    with connect(context) as api:
        found = api.get(SITE.path)
    show_list(found, SITES, as_json=as_json, as_csv=as_csv, empty="No zone of the inventory has a vault.")


@app.command(epilog="Example: naos policy show nightly")
def show(context: typer.Context, name: PolicyName, as_json: AsJson = False) -> None:
    """Show a policy."""
    with connect(context) as api:
        show_object(find(api, POLICY, name), LIST, as_json=as_json)


@app.command(epilog="Example: naos policy create nightly --site par3 --keep 15")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new policy.", show_default=False)],
    site: Annotated[str, typer.Option(help="Where copies go.", autocompletion=completes(SITE))],
    keep: Annotated[int, typer.Option(metavar="DAYS", min=1, help="How many days a copy is kept.")],
    every: Annotated[Every, typer.Option(help="The rhythm's unit.")] = Every.DAY,
    number: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Every how many of these units.")] = 1,
    start: Annotated[
        datetime | None, typer.Option(help="When it begins (UTC); left out, at once.", show_default=False)
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Make a policy: a site, a rhythm, and how long copies are kept."""
    with connect(context) as api:
        schedule: Json = {"trigger": _TRIGGERS[every], "frequency": number, "retention": keep}
        if start is not None:
            schedule["activateDate"] = int(start.replace(tzinfo=UTC).timestamp() * 1000)
        body = {"name": name, "site": find_id(api, SITE, site), "schedules": [schedule]}
        ended = waiting.finish(api, api.write("POST", POLICY.path, body), no_wait=no_wait, as_json=as_json)
        if ended is not None:
            note(f"Created policy {name}.")
            policy = api.get(f"{POLICY.path}/{waiting.made(ended, 'backup_policy')}")
            show_object(policy, LIST, as_json=as_json)


@app.command(epilog="Example: naos policy assign web-1 nightly weekly")
def assign(
    context: typer.Context,
    *,
    machine: MachineName,
    policies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[POLICY]...",
            help="Names or ids of all the policies that it shall have.",
            autocompletion=completes(POLICY),
            show_default=False,
        ),
    ] = None,
    disk: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only for this disk of the machine.", show_default=False)
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Take all policies away.")] = False,
    inherit: Annotated[
        bool, typer.Option("--inherit", help="With --disk: let it inherit the machine's again.")
    ] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give a machine exactly these policies, in place of those that it has; its disks inherit them."""
    if [bool(policies), none, inherit].count(True) != 1:
        raise typer.BadParameter(
            "name the policies that it shall have, or say --none or --inherit", param_hint="POLICY"
        )
    if inherit and disk is None:
        raise typer.BadParameter("it needs --disk; a machine inherits from nothing", param_hint="--inherit")
    with connect(context) as api:
        wanted = [find_id(api, POLICY, policy) for policy in policies or []]
        machine_id, disk_id = _subject(api, machine, disk)
        body: Json = {"slaPolicies": None if inherit else wanted}
        if disk_id is None:
            path, body["virtualMachineIds"] = f"{POLICY.path}/assign/virtual_machine", [machine_id]
        else:
            path, body["virtualDiskId"] = f"{POLICY.path}/assign/virtual_disk", disk_id
        ended = waiting.finish(api, api.write("POST", path, body), no_wait=no_wait, as_json=as_json)
        if ended is not None:
            show_list(
                api.get(POLICY.path, **_of(machine_id, disk_id)),
                LIST,
                as_json=as_json,
                empty="It has no backup policy now.",
            )


class Encrypted(StrEnum):
    """What becomes of disks of encrypted volumes, as `--encrypted` names it."""

    REFUSE = "refuse"
    CLEAR = "clear"


def _kept(terms: Json) -> str:
    said = [f"{number} {unit}" for unit, number in terms["keep"].items() if number]
    return ", ".join(said)


TERMS = (
    field("CRON", "cron"),
    field("TIME ZONE", "timeZone"),
    field("NEXT RUN", "nextRun", show=lambda at: "" if at is None else since_epoch(at)),
    Column("KEEP", _kept),
    field("IMMUTABLE DAYS", "immutableDays"),
    field("WINDOW", "window"),
    field("QUIESCE", "quiesce"),
    field("SPEED", "speed"),
    field("VERIFY DAYS", "verifyDays"),
    field("BOOT TEST DAYS", "bootDays"),
    field("ENCRYPTED", "inClear", show=lambda allowed: "clear" if allowed else "refuse"),
    field("OVERRUNS", "overruns"),
    field("LAST OVERRUN", "overranAt", show=lambda at: "" if at is None else since_epoch(at)),
)


@app.command(epilog="Example: naos policy terms nightly --cron '30 2 * * *' --time-zone Europe/Paris --keep 7/4/12/0")
def terms(
    context: typer.Context,
    *,
    name: PolicyName,
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="EXPRESSION", help="Minute, hour, day, month, weekday; empty for its schedules.", show_default=False
        ),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose wall clock it goes by.", show_default=False)
    ] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="D/W/M/Y", help="Days, weeks, months and years to keep.", show_default=False)
    ] = None,
    immutable: Annotated[
        int | None,
        typer.Option(metavar="DAYS", min=0, help="Days in which nobody deletes a point.", show_default=False),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="FROM-TO", help="When runs may begin, 22:00-06:00; empty for always.", show_default=False),
    ] = None,
    quiesce: Annotated[
        str | None, typer.Option(help="auto, required or off: the guest's file systems at rest.", show_default=False)
    ] = None,
    speed: Annotated[
        int | None,
        typer.Option(metavar="SIZE", parser=options.size, help="So much a second at most.", show_default=False),
    ] = None,
    verify: Annotated[
        int | None, typer.Option(metavar="DAYS", min=0, help="Read each point every so many days.", show_default=False)
    ] = None,
    boot_test: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS", min=0, help="Boot each machine's newest point every so many days.", show_default=False
        ),
    ] = None,
    encrypted: Annotated[
        Encrypted | None,
        typer.Option(
            help="Disks of encrypted volumes where the vaults do not encrypt: refuse them, or keep them in clear.",
            show_default=False,
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Show, or change, when a policy runs, what it keeps and how it copies."""
    given = {
        "cron": cron,
        "timeZone": time_zone,
        "immutableDays": immutable,
        "window": window,
        "quiesce": quiesce,
        "speed": speed,
        "verifyDays": verify,
        "bootDays": boot_test,
        "inClear": None if encrypted is None else encrypted is Encrypted.CLEAR,
    }
    body: Json = {key: value for key, value in given.items() if value is not None}
    if keep is not None:
        numbers = keep.split("/")
        if len(numbers) != 4 or not all(part.isascii() and part.isdecimal() for part in numbers):
            raise typer.BadParameter("write days/weeks/months/years, such as 7/4/12/0", param_hint="--keep")
        body["keep"] = dict(zip(("days", "weeks", "months", "years"), map(int, numbers), strict=True))
    with connect(context) as api:
        path = f"{POLICY.path}/{find_id(api, POLICY, name)}/terms"
        if body:
            activity = api.write("PATCH", path, body)
            if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is None:
                return
        show_object(api.get(path), TERMS, as_json=as_json)


@app.command(epilog="Example: naos policy hold nightly")
def hold(context: typer.Context, *, name: PolicyName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Hold a policy: its job does not run, nothing new gets it, and its machines do not start."""
    _turn(context, name, "hold", "Held", no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos policy release nightly")
def release(context: typer.Context, *, name: PolicyName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Release a held policy, also one that was held because it had lost its last machine."""
    _turn(context, name, "release", "Released", no_wait=no_wait, as_json=as_json)


def _turn(context: typer.Context, name: str, word: str, said: str, *, no_wait: bool, as_json: bool) -> None:
    with connect(context) as api:
        path = f"{POLICY.path}/{find_id(api, POLICY, name)}"
        if waiting.finish(api, api.write("POST", f"{path}/{word}"), no_wait=no_wait, as_json=as_json) is not None:
            note(f"{said} policy {name}.")
            show_object(api.get(path), LIST, as_json=as_json)


@app.command(epilog="Example: naos policy delete nightly")
def delete(
    context: typer.Context, *, name: PolicyName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete a policy that nothing has."""
    with connect(context) as api:
        policy = find(api, POLICY, name)
        options.confirm(f"Delete policy {policy['name']}?", yes=yes)
        activity = api.write("DELETE", f"{POLICY.path}/{policy['id']}")
        options.deleted(api, activity, f"policy {policy['name']}", no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos policy inventory")
def inventory(context: typer.Context, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Take the inventory: machines and disks made since become known to backup."""
    with connect(context) as api:
        jobs = [job for job in api.get(f"{BACKUP}/jobs", type="catalog") if job["name"] == INVENTORY]
        if not jobs:
            raise Failure(f"There is no job named {INVENTORY}.")
        activity = api.write("POST", f"{BACKUP}/jobs/run", {"jobId": jobs[0]["id"]})
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            latest = api.get(f"{BACKUP}/jobs/session")[0]
            show_object(latest, _RUN, as_json=as_json)


_RUN = (
    field("JOB", "jobName"),
    field("STATUS", "status"),
    field("MACHINES", "statistics", "total"),
    field("SEEN", "statistics", "success"),
    field("NOT SEEN", "statistics", "failed"),
    field("BEING MADE", "statistics", "skipped"),
)
