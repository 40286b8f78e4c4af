"""`naos backup instant-start` and what belongs to it: machines that run from a vault while their disks move in."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.backup import POINTS, PointName, app, find_point, moment
from naos.cli.backup_restores import Mode, Network, NewName, OtherPool, OtherVolume, RestoreMode, networks_of
from naos.cli.client import Json, connect
from naos.cli.naming import MACHINE, POOL, VOLUME, Kind, find, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, Yes
from naos.cli.output import Column, field, gib, plain, show_list, show_object
from naos.cli.policy import BACKUP

STARTS = f"{BACKUP}/instant_starts"
MOVE = Kind("move", STARTS, "naos backup moves", by_name=False)


def _a_second(speed: int | None) -> str:
    return f"{gib(speed)}/s" if speed else "as fast as it goes"


LIST = (
    field("MACHINE", "name"),
    field("MODE", "mode"),
    field("STATE", "state"),
    Column("DONE", lambda row: f"{100 * row['done'] // max(row['total'], 1)} %", right=True),
    field("SIZE", "total", show=gib, right=True),
    Column("SPEED", lambda row: row["speed"] or None, _a_second, right=True),
    field("BEGUN", "createdAt", show=moment),
    field("NOTE", "note"),
    field("ID", "id"),
)


def _speed(text: str) -> int:
    """Bytes a second; ``none`` is 0."""
    return 0 if text == "none" else options.size(text)


SPEED = typer.Option(
    "--speed", metavar="SIZE", parser=_speed, help="So much a second moves in at most, or none.", show_default=False
)


@app.command("instant-start", epilog="Example: naos backup instant-start web-1 --mode clone --name web-2")
def instant_start(
    context: typer.Context,
    *,
    point: PointName,
    mode: RestoreMode = Mode.TEST,
    name: NewName = None,
    pool: OtherPool = None,
    volume: OtherVolume = None,
    network: Network = None,
    speed: Annotated[int | None, SPEED] = None,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Start a machine from a restore point at once; its disks move in from the vault while it runs."""
    with connect(context) as api:
        found = find_point(api, point)
        present = any(item["id"] == found["virtualMachineId"] for item in api.get(MACHINE.path))
        if mode is Mode.PRODUCTION and present:
            taken = moment(found["takenAt"])
            options.confirm(f"Give {plain(found['name'])} its disks of {taken} in place of the present ones?", yes=yes)
        body: Json = {"mode": mode.value, "speed": speed or 0}
        if name is not None:
            body["name"] = name
        if pool is not None:
            body["hostClusterId"] = find_id(api, POOL, pool)
        if volume is not None:
            body["datastoreId"] = find_id(api, VOLUME, volume)
        if network:
            body["networks"] = networks_of(api, network)
        activity = api.write("POST", f"{POINTS}/{found['id']}/instant_start", body)
        ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
        if ended is not None:
            machine_id = waiting.made(ended, "virtual_machine")
            latest = next(entry for entry in api.get(STARTS) if entry["virtualMachineId"] == machine_id)
            show_object(latest, LIST, as_json=as_json)


@app.command(epilog="Example: naos backup moves")
def moves(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the machines that were started from a restore point, and how far their disks have moved in."""
    with connect(context) as api:
        found = api.get(STARTS)
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="No machine was started from a restore point.")


@app.command("limit-move", epilog="Example: naos backup limit-move web-2 --speed 100MiB")
def limit_move(
    context: typer.Context,
    *,
    name: Annotated[
        str,
        typer.Argument(metavar="MOVE", help="The machine that moves in, or the id of its move.", show_default=False),
    ],
    speed: Annotated[int, SPEED],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Set how fast the disks of a machine move in from the vault."""
    with connect(context) as api:
        going = [
            entry for entry in api.get(STARTS) if name in (entry["name"], entry["id"]) and entry["state"] != "done"
        ]
        found = going[0] if going else find(api, MOVE, name)
        activity = api.write("PATCH", f"{STARTS}/{found['id']}", {"speed": speed})
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            show_object(api.get(f"{STARTS}/{found['id']}"), LIST, as_json=as_json)
