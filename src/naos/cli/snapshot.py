"""`naos snapshot`: the disks of machines as they were at one instant."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, connect
from naos.cli.naming import MACHINE, SNAPSHOT, find, find_id
from naos.cli.options import AsCsv, AsJson, MachineName, NoWait, Yes, completes
from naos.cli.output import field, gib, moment, note, show_list, show_object, since_epoch

app = typer.Typer(no_args_is_help=True, help="Snapshots of machines: their persistent disks at one instant.")


def _memory(size: int) -> str:
    return gib(size) if size else ""


LIST = (
    field("NAME", "name"),
    field("TAKEN", "createTime", show=since_epoch),
    field("AT REST", "quiesced"),
    field("CURRENT", "current"),
    field("MEMORY", "memorySize", show=_memory, right=True),
    field("SIZE", "size", show=gib, right=True),
    field("A DAY", "growthPerDay", show=gib, right=True),
    field("WARNING", "warnings"),
    field("DESCRIPTION", "description"),
    field("AFTER", "parentId"),
    field("MACHINE ID", "virtualMachineId"),
    field("ID", "id"),
)
POINTS = (field("HOUR", "at", show=moment), field("SIZE", "held", show=gib, right=True))
OF_MACHINE = typer.Option("--vm", metavar="VM", help="Of which machine.", autocompletion=completes(MACHINE))
SnapshotName = Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the snapshot.", show_default=False)]


@app.command("list", epilog="Example: naos snapshot list --vm web-1")
def list_snapshots(
    context: typer.Context,
    *,
    machine: Annotated[str | None, OF_MACHINE] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the snapshots, of one machine or of all."""
    with connect(context) as api:
        found = api.get(SNAPSHOT.path, virtualMachineId=_machine(api, machine))
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="There is no snapshot.")


@app.command(epilog="Example: naos snapshot growth before-upgrade --vm web-1")
def growth(
    context: typer.Context,
    *,
    name: SnapshotName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """What a snapshot has held, hour by hour, in the last 30 days: what lies on the volumes for its sake alone."""
    with connect(context) as api:
        snapshot = find(api, SNAPSHOT, name, virtualMachineId=_machine(api, machine))
        found = api.get(f"{SNAPSHOT.path}/{snapshot['id']}/growth")
    show_list(found["points"], POINTS, as_json=as_json, as_csv=as_csv, empty="Nobody has looked at it yet.")
    for warning in found["warnings"]:
        note(warning)


@app.command(epilog="Example: naos snapshot create web-1 before-upgrade --quiesce")
def create(
    context: typer.Context,
    *,
    machine: MachineName,
    name: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its name.", show_default=False)],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    quiesce: Annotated[
        bool, typer.Option("--quiesce", help="Bring the guest's file systems to rest first, by its agent.")
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Keep the running guest's memory too: it can go on from there.")
    ] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Take a snapshot, running or not. Independent disks take no part."""
    with connect(context) as api:
        body = {
            "virtualMachineId": find_id(api, MACHINE, machine),
            "name": name,
            "description": description,
            "quiesce": quiesce,
            "memory": memory,
        }
        ended = waiting.finish(api, api.write("POST", SNAPSHOT.path, body), no_wait=no_wait, as_json=as_json)
        if ended is not None:
            note(f"Took snapshot {name} of {machine}.")
            show_object(api.get(f"{SNAPSHOT.path}/{waiting.made(ended, 'snapshot')}"), LIST, as_json=as_json)


@app.command(epilog="Example: naos snapshot revert before-upgrade --vm web-1")
def revert(
    context: typer.Context,
    *,
    name: SnapshotName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    disks_only: Annotated[
        bool, typer.Option("--disks-only", help="Leave the memory that it holds aside; the machine stays off.")
    ] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Bring a stopped machine back: its disks, and the guest running where it was when the snapshot holds memory. What was
    written since is lost, unless another snapshot holds it."""
    with connect(context) as api:
        snapshot = find(api, SNAPSHOT, name, virtualMachineId=_machine(api, machine))
        options.confirm(f"Go back to {snapshot['name']} and lose what was written since?", yes=yes)
        body = {"id": snapshot["id"], "memory": not disks_only}
        activity = api.write("POST", f"{SNAPSHOT.path}/revert", body)
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            goes_on = snapshot["memory"] and not disks_only
            note(
                f"The machine goes on from {snapshot['name']}."
                if goes_on
                else f"The disks are as in {snapshot['name']}."
            )
            show_object(api.get(f"{SNAPSHOT.path}/{snapshot['id']}"), LIST, as_json=as_json)


@app.command(epilog="Example: naos snapshot delete before-upgrade --vm web-1")
def delete(
    context: typer.Context,
    *,
    name: SnapshotName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Delete a snapshot, running or not; the disks and every other snapshot stay as they are."""
    with connect(context) as api:
        snapshot = find(api, SNAPSHOT, name, virtualMachineId=_machine(api, machine))
        options.confirm(f"Delete snapshot {snapshot['name']}?", yes=yes)
        activity = api.write("DELETE", f"{SNAPSHOT.path}/{snapshot['id']}")
        options.deleted(api, activity, snapshot["name"], no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos snapshot consolidate web-1")
def consolidate(
    context: typer.Context, *, machine: MachineName, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Remove from a machine's disks what interrupted work has left of snapshots."""
    with connect(context) as api:
        body = {"virtualMachineId": find_id(api, MACHINE, machine)}
        activity = api.write("POST", f"{SNAPSHOT.path}/consolidate", body)
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            note(f"The disks of {machine} hold what its snapshots need, and nothing else.")


def _machine(api: Api, machine: str | None) -> str | None:
    return find_id(api, MACHINE, machine) if machine is not None else None
