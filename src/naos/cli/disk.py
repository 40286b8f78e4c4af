"""`naos disk`: the disks of machines."""

from enum import StrEnum
from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import DEVICE, DISK, MACHINE, VOLUME, find, find_id
from naos.cli.options import AsCsv, AsJson, DiskName, MachineName, NoWait, Yes, completes
from naos.cli.output import field, gib, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Disks of machines.")

LIST = (
    field("NAME", "name"),
    field("SIZE", "capacity", show=gib, right=True),
    field("VOLUME", "datastore", "name"),
    field("PROVISIONING", "provisioningType"),
    field("MODE", "diskMode"),
    field("CONTROLLER", "controller", "type"),
    field("MACHINE ID", "virtualMachineId"),
    field("STATUS", "status"),
    field("ID", "id"),
)
MODE_HELP = "persistent; independent_persistent: takes no part in snapshots; independent_nonpersistent: drops at power off what was written."


class Mode(StrEnum):
    """Of disks, in the API's words."""

    PERSISTENT = "persistent"
    INDEPENDENT = "independent_persistent"
    NONPERSISTENT = "independent_nonpersistent"


OF_MACHINE = typer.Option("--vm", metavar="VM", help="Of which machine.", autocompletion=completes(MACHINE))


@app.command("list", epilog="Example: naos disk list --vm web-1")
def list_disks(
    context: typer.Context,
    *,
    machine: Annotated[str | None, OF_MACHINE] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the disks, of one machine or of all."""
    with connect(context) as api:
        found = api.get(DISK.path, virtualMachineId=_machine(api, machine))
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="There is no disk.")


@app.command(epilog="Example: naos disk show 'Hard disk 1' --vm web-1")
def show(
    context: typer.Context,
    *,
    name: DiskName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    as_json: AsJson = False,
) -> None:
    """Show a disk."""
    with connect(context) as api:
        show_object(find(api, DISK, name, virtualMachineId=_machine(api, machine)), LIST, as_json=as_json)


@app.command(epilog="Example: naos disk add web-1 --size 100GiB --volume fast")
def add(
    context: typer.Context,
    *,
    machine: MachineName,
    size: Annotated[int, typer.Option(metavar="SIZE", parser=options.size, help=f"Size: {options.SIZE_HELP}")],
    volume: Annotated[
        str | None,
        typer.Option(help="Volume to lie on; left out, the machine's.", autocompletion=completes(VOLUME)),
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help=MODE_HELP, show_default=False)] = None,
    controller: Annotated[
        str | None, typer.Option(help="Controller to hang it on; left out, the platform's choice.", show_default=False)
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Add a disk to a machine; a running guest sees it at once."""
    with connect(context) as api:
        machine_id = find_id(api, MACHINE, machine)
        body: Json = {"virtualMachineId": machine_id, "capacity": size}
        if mode is not None:
            body["diskMode"] = mode.value
        if controller is not None:
            body["controllerId"] = find_id(api, DEVICE, controller, virtualMachineId=machine_id)
        if volume is not None:
            body["datastoreId"] = find_id(api, VOLUME, volume)
        activity = api.write("POST", DISK.path, body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Added a disk to {machine}.")


@app.command(epilog="Example: naos disk grow 'Hard disk 1' 200GiB --vm web-1")
def grow(
    context: typer.Context,
    *,
    name: DiskName,
    size: Annotated[
        int,
        typer.Argument(
            metavar="SIZE", parser=options.size, help=f"Its new size: {options.SIZE_HELP}", show_default=False
        ),
    ],
    machine: Annotated[str | None, OF_MACHINE] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Grow a disk; a running guest sees the new size. Disks never shrink."""
    with connect(context) as api:
        disk = find(api, DISK, name, virtualMachineId=_machine(api, machine))
        activity = api.write("PATCH", DISK.path, {"id": disk["id"], "newCapacity": size})
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"{disk['name']} has {gib(size)} now.")


@app.command("mode", epilog="Example: naos disk mode 'Hard disk 2' independent_persistent --vm web-1")
def change_mode(
    context: typer.Context,
    *,
    name: DiskName,
    mode: Annotated[Mode, typer.Argument(metavar="MODE", help=MODE_HELP, show_default=False)],
    machine: Annotated[str | None, OF_MACHINE] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Change what becomes of what is written to a disk."""
    with connect(context) as api:
        disk = find(api, DISK, name, virtualMachineId=_machine(api, machine))
        activity = api.write("PATCH", DISK.path, {"id": disk["id"], "diskMode": mode.value})
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"{disk['name']} is {mode.value} now.")


@app.command(epilog="Example: naos disk unmount 'Hard disk 2' --vm web-1")
def unmount(
    context: typer.Context,
    *,
    name: DiskName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Take a disk from its machine and keep it, for `naos disk mount`."""
    with connect(context) as api:
        disk = find(api, DISK, name, virtualMachineId=_machine(api, machine))
        activity = api.write("POST", f"{DISK.path}/unmount", {"virtualDiskId": disk["id"]})
        said = f"{disk['name']} belongs to no machine now; it is {disk['diskPath']}."
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=said)


@app.command(epilog="Example: naos disk mount web-2 0a1b2c3d-0000-4000-8000-000000000001")
def mount(
    context: typer.Context,
    *,
    machine: MachineName,
    disk: Annotated[str, typer.Argument(metavar="DISK", help="Id of the disk, or its path.", show_default=False)],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give a machine a disk that was unmounted."""
    with connect(context) as api:
        path = disk if disk.startswith("[") else find(api, DISK, disk)["diskPath"]
        body = {"virtualMachineId": find_id(api, MACHINE, machine), "path": path}
        activity = api.write("POST", f"{DISK.path}/mount", body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"{machine} has it now.")


@app.command(epilog="Example: naos disk delete 'Hard disk 2' --vm web-1")
def delete(
    context: typer.Context,
    *,
    name: DiskName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Take a disk from its machine and delete what is on it. Nothing brings it back."""
    with connect(context) as api:
        disk = find(api, DISK, name, virtualMachineId=_machine(api, machine))
        options.confirm(f"Delete {disk['name']} ({disk['id']}) with {gib(disk['capacity'])}?", yes=yes)
        activity = api.write("DELETE", f"{DISK.path}/{disk['id']}")
        options.deleted(api, activity, disk["name"], no_wait=no_wait, as_json=as_json)


def _machine(api: Api, machine: str | None) -> str | None:
    return find_id(api, MACHINE, machine) if machine is not None else None


def _finish(api: Api, activity_id: str, *, no_wait: bool, as_json: bool, said: str) -> None:
    ended = waiting.finish(api, activity_id, no_wait=no_wait, as_json=as_json)
    if ended is not None:
        disk = api.get(f"{DISK.path}/{waiting.made(ended, 'virtual_disk')}")
        note(said)
        show_object(disk, LIST, as_json=as_json)
