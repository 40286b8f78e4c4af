"""`naos device`: the virtual controllers of machines, and their drives for images."""

from enum import StrEnum
from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import DEVICE, MACHINE, find, find_id, find_template
from naos.cli.options import AsCsv, AsJson, MachineName, NoWait, Yes, completes
from naos.cli.output import field, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Virtual controllers of machines, and drives for images.")

LIST = (
    field("NAME", "label"),
    field("TYPE", "type"),
    field("SUB TYPE", "subType"),
    field("WHAT THE GUEST GETS", "summary"),
    field("DISKS", "virtualDisks", show=lambda disks: str(len(disks)), right=True),
    field("IMAGE", "isoItemId"),
    field("CONNECTED", "connected"),
    field("MACHINE ID", "virtualMachineId"),
    field("ID", "id"),
)
OF_MACHINE = typer.Option("--vm", metavar="VM", help="Of which machine.", autocompletion=completes(MACHINE))
DeviceName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name, such as 'SCSI controller 0', or id.", show_default=False)
]


class Type(StrEnum):
    """What can be added."""

    SCSI = "SCSI"
    CD_DVD = "CD/DVD"
    USB2 = "USB2"
    USB3 = "USB3"


class SubType(StrEnum):
    """Of SCSI controllers."""

    PARAVIRTUAL = "ParaVirtual"
    LSI_LOGIC = "LSILogic"
    LSI_LOGIC_SAS = "LSILogicSAS"


@app.command("list", epilog="Example: naos device list --vm web-1")
def list_devices(
    context: typer.Context,
    *,
    machine: Annotated[str | None, OF_MACHINE] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the controllers and drives, of one machine or of all."""
    with connect(context) as api:
        found = api.get(DEVICE.path, virtualMachineId=_machine(api, machine))
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="There is no controller.")


@app.command(epilog="Example: naos device add web-1 --type SCSI --sub-type ParaVirtual")
def add(
    context: typer.Context,
    *,
    machine: MachineName,
    kind: Annotated[Type, typer.Option("--type", help="What to add; CD/DVD is a drive.")],
    sub_type: Annotated[
        SubType | None, typer.Option(help="Of a SCSI controller; left out, a paravirtual one for 15 disks.")
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Add a controller or a drive. A running guest gets what can be plugged in; for the rest the machine is stopped first."""
    with connect(context) as api:
        body: Json = {"virtualMachineId": find_id(api, MACHINE, machine), "type": kind.value}
        if sub_type is not None:
            body["subType"] = sub_type.value
        _finish(api, api.write("POST", DEVICE.path, body), no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos device mount 'CD/DVD drive 1' debian-12.iso --vm web-1")
def mount(
    context: typer.Context,
    *,
    name: DeviceName,
    item: Annotated[str, typer.Argument(metavar="IMAGE", help="Name or id of an ISO image in a content library.")],
    machine: Annotated[str | None, OF_MACHINE] = None,
    as_json: AsJson = False,
) -> None:
    """Put an ISO image into a drive and let the guest see it."""
    with connect(context) as api:
        drive = find(api, DEVICE, name, virtualMachineId=_machine(api, machine))
        body = {"id": drive["id"], "contentLibraryItemId": find_template(api, item)["id"]}
        waiting.follow(api, api.write("PATCH", f"{DEVICE.path}/cdrom/mount", body))
        connected = api.write("PATCH", f"{DEVICE.path}/cdrom/connect", {"id": drive["id"]})
        _finish(api, connected, no_wait=False, as_json=as_json)


@app.command(epilog="Example: naos device unmount 'CD/DVD drive 1' --vm web-1")
def unmount(
    context: typer.Context,
    *,
    name: DeviceName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Take the image out of a drive; a guest that keeps the door shut has it opened by force."""
    _act(context, name, machine, "unmount", no_wait=no_wait, as_json=as_json)


@app.command("connect", epilog="Example: naos device connect 'CD/DVD drive 1' --vm web-1")
def connect_drive(
    context: typer.Context,
    *,
    name: DeviceName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Let the guest see what is in a drive."""
    _act(context, name, machine, "connect", no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos device disconnect 'CD/DVD drive 1' --vm web-1")
def disconnect(
    context: typer.Context,
    *,
    name: DeviceName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Let a drive look empty to the guest; the image stays in it."""
    _act(context, name, machine, "disconnect", no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos device delete 'SCSI controller 0' --vm web-1")
def delete(
    context: typer.Context,
    *,
    name: DeviceName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Remove a controller that no disk hangs on, or a drive."""
    with connect(context) as api:
        device = find(api, DEVICE, name, virtualMachineId=_machine(api, machine))
        options.confirm(f"Remove {device['label']}?", yes=yes)
        activity = api.write("DELETE", f"{DEVICE.path}/{device['id']}")
        options.deleted(api, activity, device["label"], no_wait=no_wait, as_json=as_json)


def _machine(api: Api, machine: str | None) -> str | None:
    return find_id(api, MACHINE, machine) if machine is not None else None


def _act(context: typer.Context, name: str, machine: str | None, action: str, *, no_wait: bool, as_json: bool) -> None:
    with connect(context) as api:
        drive = find(api, DEVICE, name, virtualMachineId=_machine(api, machine))
        activity = api.write("PATCH", f"{DEVICE.path}/cdrom/{action}", {"id": drive["id"]})
        _finish(api, activity, no_wait=no_wait, as_json=as_json)


def _finish(api: Api, activity_id: str, *, no_wait: bool, as_json: bool) -> None:
    ended = waiting.finish(api, activity_id, no_wait=no_wait, as_json=as_json)
    if ended is not None:
        device = api.get(f"{DEVICE.path}/{waiting.made(ended, 'virtual_controller')}")
        note(f"{device['label']}: done.")
        show_object(device, LIST, as_json=as_json)
