"""`naos volume`: volumes (LUNs, datastores) of an IOPS class."""

import sys
from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import COMPUTE, VOLUME, ZONE, find, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, VolumeName, Yes, completes
from naos.cli.output import Column, field, gib, note, show_list, show_object


def figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def speed(value: float | None) -> str:
    """Bytes a second, in MB/s."""
    return "" if value is None else f"{figure(value / 1e6)} MB/s"


def milliseconds(value: float | None) -> str:
    return "" if value is None else f"{figure(value)} ms"


def share(value: float | None) -> str:
    """A ratio, in per cent."""
    return "" if value is None else f"{value * 100:.0f} %"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def alarms(volume: Json) -> str:
    return " ".join(alarm["message"] for alarm in volume.get("triggeredAlarms") or [])


app = typer.Typer(no_args_is_help=True, help="Volumes of an IOPS class; disks lie on them.")

LIST = (
    field("NAME", "name"),
    field("ZONE", "datacenter", "name"),
    field("CLASS", "storageClass"),
    field("SIZE", "maxCapacity", show=gib, right=True),
    field("FREE", "freeCapacity", show=gib, right=True),
    field("IOPS", "iops", right=True),
    field("MACHINES", "virtualMachinesNumber", right=True),
    field("CLUSTER", "datastoreCluster", "name"),
    field("STATUS", "status"),
    Column("ALARM", lambda volume: " ".join(alarm["status"] for alarm in volume.get("triggeredAlarms") or [])),
    field("ID", "id"),
)
SHOWN = (
    *LIST,
    field("USED", "space", "used", show=gib),
    field("PROVISIONED", "space", "provisioned", show=gib),
    field("UNCOMMITTED", "space", "uncommitted", show=gib),
    field("OVERCOMMITMENT", "space", "overcommitment", show=share),
    field("MAY BE PROMISED", "space", "overcommitmentLimit", show=percent),
    field("SWAP FILES", "space", "swap", show=gib),
    field("DAYS UNTIL FULL", "space", "daysUntilFull", show=figure),
    field("SNAPSHOT HEADROOM", "space", "snapshotHeadroom"),
    field("SNAPSHOT POLICY", "space", "snapshotPolicy"),
    field("RESERVE", "space", "reserve", show=gib),
    field("RESERVE RELEASED", "space", "reserveReleased"),
    field("MAINTENANCE", "maintenanceMode"),
    field("ENCRYPTED", "encrypted"),
    Column("WARNING", alarms),
)


@app.command("list", epilog="Example: naos volume list --zone par1")
def list_volumes(
    context: typer.Context,
    *,
    zone: Annotated[
        str | None, typer.Option(help="Only those of a zone.", autocompletion=completes(ZONE), show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the volumes."""
    with connect(context) as api:
        found = api.get(VOLUME.path, datacenterId=find_id(api, ZONE, zone) if zone is not None else None)
    empty = "There is no volume yet; `naos volume create --help` shows how to make one."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos volume show fast")
def show(context: typer.Context, name: VolumeName, as_json: AsJson = False) -> None:
    """Show a volume."""
    with connect(context) as api:
        show_object(find(api, VOLUME, name), SHOWN, as_json=as_json)


@app.command(epilog="Example: naos volume create fast --zone par1 --class standard --size 500GiB")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new volume.", show_default=False)],
    zone: Annotated[str, typer.Option(help="Availability zone.", autocompletion=completes(ZONE))],
    storage_class: Annotated[
        str,
        typer.Option("--class", help="IOPS class: essential, standard, premium, enterprise, ultra or mass."),
    ],
    size: Annotated[int, typer.Option(metavar="SIZE", parser=options.size, help=f"Size: {options.SIZE_HELP}")],
    encrypted: Annotated[
        bool, typer.Option("--encrypted", help="Keep nothing of its disks on the array in clear; it stays so for good.")
    ] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Create a volume; class and size together give its IOPS limit."""
    with connect(context) as api:
        body = {
            "name": name,
            "datacenterId": find_id(api, ZONE, zone),
            "storageClass": storage_class,
            "capacity": size,
        } | ({"encrypted": True} if encrypted else {})
        activity = api.write("POST", VOLUME.path, body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Created volume {name}.")


@app.command(epilog="Example: naos volume grow fast 1TiB")
def grow(
    context: typer.Context,
    *,
    name: VolumeName,
    size: Annotated[
        int,
        typer.Argument(
            metavar="SIZE", parser=options.size, help=f"Its new size: {options.SIZE_HELP}", show_default=False
        ),
    ],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Grow a volume; its IOPS limit grows with it at once."""
    with connect(context) as api:
        volume = find(api, VOLUME, name)
        activity = api.write("PATCH", VOLUME.path, {"id": volume["id"], "capacity": size})
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Volume {name} has {gib(size)} now.")


@app.command("set", epilog="Example: naos volume set fast --class premium")
def change(
    context: typer.Context,
    *,
    name: VolumeName,
    storage_class: Annotated[
        str, typer.Option("--class", help="Its new IOPS class: essential, standard, premium, enterprise or ultra.")
    ],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give a volume another IOPS class, under the machines that run on it."""
    with connect(context) as api:
        volume = find(api, VOLUME, name)
        activity = api.write("PATCH", VOLUME.path, {"id": volume["id"], "storageClass": storage_class})
        said = f"Volume {volume['name']} is of class {storage_class} now."
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=said)


@app.command("keep", epilog="Example: naos volume keep fast --reserve 20GiB --snapshots refuse --headroom 10")
def keep(
    context: typer.Context,
    *,
    name: VolumeName,
    reserve: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=options.size,
            help=f"Emergency reserve, at most a quarter of the volume: {options.SIZE_HELP}",
            show_default=False,
        ),
    ] = None,
    no_reserve: Annotated[bool, typer.Option("--no-reserve", help="Keep no emergency reserve.")] = False,
    headroom: Annotated[
        int | None, typer.Option(min=0, max=50, help="Per cent that snapshots want free.", show_default=False)
    ] = None,
    snapshots: Annotated[
        str | None,
        typer.Option(help="Snapshots when less is free: allow, warn or refuse.", show_default=False),
    ] = None,
    overcommitment: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=10_000,
            help="Per cent of the volume that disks may be promised; 0 for no limit.",
            show_default=False,
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Set which space is kept free on a volume, and for what."""
    with connect(context) as api:
        volume = find(api, VOLUME, name)
        given = {"reserve": 0 if no_reserve else reserve, "snapshotHeadroom": headroom, "snapshotPolicy": snapshots}
        given["overcommitment"] = overcommitment
        body = {"id": volume["id"], **{key: value for key, value in given.items() if value is not None}}
        activity = api.write("PATCH", f"{VOLUME.path}/policy", body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Set how space is kept on {volume['name']}.")


@app.command("release-reserve", epilog="Example: naos volume release-reserve fast")
def release_reserve(
    context: typer.Context, *, name: VolumeName, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Give the emergency reserve of a full volume to the machines that wait there; it is made again once there is room."""
    with connect(context) as api:
        volume = find(api, VOLUME, name)
        activity = api.write("POST", f"{VOLUME.path}/release_reserve", {"id": volume["id"]})
        said = f"Released the emergency reserve of {volume['name']}."
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=said)


@app.command(epilog="Example: naos volume maintenance fast --enter")
def maintenance(
    context: typer.Context,
    *,
    name: VolumeName,
    enter: Annotated[bool, typer.Option("--enter/--exit", help="Begin or end it.")],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Begin or end the maintenance of a volume: nothing new is placed there; what is there stays and runs."""
    with connect(context) as api:
        volume = find(api, VOLUME, name)
        activity = api.write("POST", f"{VOLUME.path}/maintenance", {"id": volume["id"], "enter": enter})
        said = f"Volume {volume['name']} is {'in maintenance' if enter else 'in service'} now."
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=said)


TOP = (
    field("NAME", "name"),
    field("IOPS", "iops_now", right=True),
    field("OF", "iops", right=True),
    field("READS/S", "rates", "readOperations", show=figure, right=True),
    field("WRITES/S", "rates", "writeOperations", show=figure, right=True),
    field("READ", "rates", "readBandwidth", show=speed, right=True),
    field("WRITE", "rates", "writeBandwidth", show=speed, right=True),
    field("MEAN", "rates", "latency", show=milliseconds, right=True),
    field("P50", "rates", "latencyP50", show=milliseconds, right=True),
    field("P95", "rates", "latencyP95", show=milliseconds, right=True),
    field("P99", "rates", "latencyP99", show=milliseconds, right=True),
    field("QUEUE", "rates", "queueDepth", show=figure, right=True),
    field("DEVICE IOPS", "rates", "device", "operations", show=figure, right=True),
    field("ID", "id"),
)


@app.command(epilog="Example: naos volume top --once")
def top(
    context: typer.Context,
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A volume, by name or id, to show with the disks on it that are in use.",
            autocompletion=completes(VOLUME),
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show the present figures and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """What volumes do now: a table that is renewed every ten seconds until you press Ctrl+C.

    IOPS, bandwidth, latency and queue are those of the guests; the device's are what the array does below, copies included. With
    --json, or off a terminal, it is shown once.
    """
    with connect(context) as api:
        volume = find_id(api, VOLUME, name) if name is not None else None
        while True:
            found = api.get(f"{COMPUTE}/datastore_figures", datastoreId=volume)
            live = not (once or as_json) and sys.stdout.isatty()
            if live:
                print("\x1b[H\x1b[2J", end="")
            empty = "There is no volume yet; `naos volume create --help` shows how to make one."
            shown = found if as_json else [row | {"iops_now": _rate(row["rates"])} for row in found]
            show_list(shown, TOP, as_json=as_json, empty=empty)
            if not live:
                return
            sys.stdout.flush()
            api.connection.sleep(10)


def _rate(rates: Json | None) -> str:
    """Requests a second; a dash when nobody could look."""
    return "-" if rates is None else figure(rates["readOperations"] + rates["writeOperations"])


@app.command(epilog="Example: naos volume delete fast")
def delete(
    context: typer.Context, *, name: VolumeName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete a volume that holds no disk."""
    with connect(context) as api:
        volume = find(api, VOLUME, name)
        options.confirm(f"Delete volume {volume['name']} ({gib(volume['maxCapacity'])})?", yes=yes)
        activity = api.write("DELETE", f"{VOLUME.path}/{volume['id']}")
        options.deleted(api, activity, f"volume {volume['name']}", no_wait=no_wait, as_json=as_json)


def _finish(api: Api, activity_id: str, *, no_wait: bool, as_json: bool, said: str) -> None:
    ended = waiting.finish(api, activity_id, no_wait=no_wait, as_json=as_json)
    if ended is not None:
        volume = api.get(f"{VOLUME.path}/{waiting.made(ended, 'datastore')}")
        note(said)
        show_object(volume, LIST, as_json=as_json)
