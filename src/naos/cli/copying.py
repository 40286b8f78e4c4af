"""`naos vm clone` and `naos vm move`: copies of machines, and machines and disks brought elsewhere."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from naos.cli import waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import BLADE, DISK, MACHINE, POOL, VOLUME, ZONE, find, find_id
from naos.cli.options import AsJson, MachineName, NoWait, completes
from naos.cli.output import field, gib, note, show_object

SHOW = (
    field("NAME", "name"),
    field("STATE", "powerState"),
    field("ZONE", "datacenter", "name"),
    field("POOL", "hostCluster", "name"),
    field("BLADE", "host", "name"),
    field("VOLUME", "datastore", "name"),
    field("DISKS", "storage", "committed", show=gib),
    field("ID", "id"),
)

ToBlade = Annotated[
    str | None,
    typer.Option("--to", metavar="BLADE", help="Blade.", autocompletion=completes(BLADE), show_default=False),
]
ToPool = Annotated[str | None, typer.Option("--pool", help="Pool.", autocompletion=completes(POOL), show_default=False)]
ToZone = Annotated[str | None, typer.Option("--zone", help="Zone.", autocompletion=completes(ZONE), show_default=False)]
ToVolume = Annotated[
    str | None, typer.Option("--volume", help="Volume.", autocompletion=completes(VOLUME), show_default=False)
]


def clone(
    context: typer.Context,
    *,
    name: MachineName,
    new: Annotated[str, typer.Argument(help="Name of the clone.")],
    to: ToBlade = None,
    pool: ToPool = None,
    zone: ToZone = None,
    volume: ToVolume = None,
    start: Annotated[bool, typer.Option("--start", help="Power it on.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Copy a machine, which may run: all its disks as they are at one instant. Addresses and host name are the clone's own."""
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        body = {"name": new, **_place(api, blade=to, pool=pool, zone=zone, volume=volume)}
        if start:
            body["powerOn"] = True
        activity = api.write("POST", f"{MACHINE.path}/{machine['id']}/clone", body)
        _finish(
            api, activity, no_wait=no_wait, as_json=as_json, said=lambda made: f"{made['name']} is a clone of {name}."
        )


def move(
    context: typer.Context,
    *,
    name: MachineName,
    to: ToBlade = None,
    pool: ToPool = None,
    zone: ToZone = None,
    volume: ToVolume = None,
    disk: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DISK=VOLUME", help="A single disk and its volume; may be given again.", show_default=False
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Bring a machine to another blade, pool or zone, and its disks to other volumes: live when it runs."""
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        where: dict[str, Any] = _place(api, blade=to, pool=pool, zone=zone, volume=volume)
        if disk:
            where["diskPlacements"] = [_placement(api, machine["id"], wish) for wish in disk]
        if not where:
            raise typer.BadParameter("say where: --to, --pool, --zone, --volume or --disk")
        activity = api.write("POST", f"{MACHINE.path}/relocate", {"virtualMachines": [machine["id"]], **where})
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=lambda made: f"{made['name']} is there now.")


def _place(api: Api, *, blade: str | None, pool: str | None, zone: str | None, volume: str | None) -> dict[str, Any]:
    wanted = {
        "hostId": (BLADE, blade),
        "hostClusterId": (POOL, pool),
        "datacenterId": (ZONE, zone),
        "datastoreId": (VOLUME, volume),
    }
    return {key: find_id(api, kind, name) for key, (kind, name) in wanted.items() if name is not None}


def _placement(api: Api, machine_id: str, wish: str) -> Json:
    disk, equals, volume = wish.rpartition("=")
    if not equals or not disk or not volume:
        raise typer.BadParameter(f"{wish!r} is no DISK=VOLUME", param_hint="--disk")
    return {
        "virtualDiskId": find_id(api, DISK, disk, virtualMachineId=machine_id),
        "virtualMachineId": machine_id,
        "datastoreId": find_id(api, VOLUME, volume),
    }


def _finish(api: Api, activity: str, *, no_wait: bool, as_json: bool, said: Callable[[Json], str]) -> None:
    ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
    if ended is not None:
        machine = api.get(f"{MACHINE.path}/{waiting.made(ended, 'virtual_machine')}")
        note(said(machine))
        show_object(machine, SHOW, as_json=as_json)
