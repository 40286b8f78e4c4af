"""`naos backup`: restores, and what is decided about them afterwards."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.backup import POINTS, PointName, app, find_point, moment
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import DISK, MACHINE, POOL, VLAN, VOLUME, Kind, find, find_id, normal_id
from naos.cli.options import AsCsv, AsJson, NoWait, Yes, completes
from naos.cli.output import field, note, plain, show_list, show_object
from naos.cli.policy import BACKUP

RESTORES = f"{BACKUP}/restores"
RESTORE = Kind("restore", RESTORES, "naos backup restores", by_name=False)


class Mode(StrEnum):
    """What becomes of a restore, as `--mode` names it."""

    TEST = "test"
    CLONE = "clone"
    PRODUCTION = "production"


RESTORE_LIST = (
    field("MACHINE", "name"),
    field("MODE", "mode"),
    field("STATE", "state"),
    field("BEGUN", "createdAt", show=moment),
    field("OLD DISKS", "oldDisks"),
    field("ID", "id"),
)
RestoreName = Annotated[
    str,
    typer.Argument(metavar="RESTORE", help="Id of the restore, or the machine that it made.", show_default=False),
]


def _restore(api: Api, reference: str, states: Sequence[str]) -> Json:
    """A restore by its id, or the only one of a machine that is in one of the states."""
    if normal_id(reference) is not None:
        return find(api, RESTORE, reference)
    found = [entry for entry in api.get(RESTORES) if entry["name"] == reference and entry["state"] in states]
    if len(found) != 1:
        raise Failure(
            f"There {'is no restore' if not found else 'are several restores'} of {plain(reference)} to decide about; "
            "see `naos backup restores`."
        )
    only: Json = found[0]
    return only


def networks_of(api: Api, pairs: Sequence[str]) -> list[Json]:
    found = []
    for pair in pairs:
        original, separator, network = pair.partition("=")
        if not separator:
            raise typer.BadParameter("write OLD=NEW", param_hint="--network")
        then = normal_id(original) or find_id(api, VLAN, original)
        found.append({"original": then, "networkId": find_id(api, VLAN, network)})
    return found


Network = Annotated[
    list[str] | None,
    typer.Option(
        "--network", metavar="OLD=NEW", help="For adapters of VLAN OLD (a name, or the id of one that is gone)."
    ),
]


RestoreMode = Annotated[
    Mode,
    typer.Option(help="test: on a network of its own. clone: another machine. production: the machine's own disks."),
]
NewName = Annotated[str | None, typer.Option(help="Name of the machine that is made.", show_default=False)]
OtherPool = Annotated[
    str | None, typer.Option(help="Another pool.", autocompletion=completes(POOL), show_default=False)
]
OtherVolume = Annotated[
    str | None, typer.Option(help="Another volume.", autocompletion=completes(VOLUME), show_default=False)
]


@app.command(epilog="Example: naos backup restore web-1 --mode clone --name web-2")
def restore(
    context: typer.Context,
    *,
    point: PointName,
    mode: RestoreMode = Mode.TEST,
    name: NewName = None,
    disk: Annotated[
        list[str] | None, typer.Option(metavar="DISK", help="Only this disk of the point, by name or id.")
    ] = None,
    pool: OtherPool = None,
    volume: OtherVolume = None,
    network: Network = None,
    start: Annotated[bool, typer.Option("--start", help="Start it when it is there.")] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Restore a machine, or some of its disks. In production its present disks are kept until you confirm."""
    with connect(context) as api:
        found = find_point(api, point)
        present = any(item["id"] == found["virtualMachineId"] for item in api.get(MACHINE.path))
        replacing = mode is Mode.PRODUCTION and present
        if replacing:
            taken = moment(found["takenAt"])
            options.confirm(f"Give {plain(found['name'])} its disks of {taken} in place of the present ones?", yes=yes)
        body: Json = {"mode": mode.value, "powerOn": start and not replacing}
        if name is not None:
            body["name"] = name
        if disk:
            body["diskIds"] = [_disk(found, reference) for reference in disk]
        if pool is not None:
            body["hostClusterId"] = find_id(api, POOL, pool)
        if volume is not None:
            body["datastoreId"] = find_id(api, VOLUME, volume)
        if network:
            body["networks"] = networks_of(api, network)
        activity = api.write("POST", f"{POINTS}/{found['id']}/restore", body)
        ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
        if ended is None:
            return
        machine_id = waiting.made(ended, "virtual_machine")
        if start and replacing:
            waiting.follow(api, api.write("PATCH", f"{MACHINE.path}/power", {"id": machine_id, "powerAction": "on"}))
        latest = next(entry for entry in api.get(RESTORES) if entry["virtualMachineId"] == machine_id)
        if latest["state"] == "replaced":
            note(
                f"The old disks are kept: naos backup confirm {latest['id']}, or naos backup take-back {latest['id']}."
            )
        show_object(latest, RESTORE_LIST, as_json=as_json)


def _disk(point: Json, reference: str) -> str:
    for disk in point["disks"]:
        if reference in (disk["id"], disk["name"]):
            return str(disk["id"])
    names = ", ".join(plain(disk["name"]) for disk in point["disks"])
    raise Failure(f"The restore point has no {DISK.noun} {plain(reference)}; it has {names}.")


@app.command(epilog="Example: naos backup restores")
def restores(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the restores, the newest first."""
    with connect(context) as api:
        found = api.get(RESTORES)
    show_list(found, RESTORE_LIST, as_json=as_json, as_csv=as_csv, empty="Nothing was restored yet.")


@app.command(epilog="Example: naos backup confirm web-1 --yes")
def confirm(
    context: typer.Context, *, name: RestoreName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete the disks that a restore to production replaced."""
    _decide(context, name, "confirm", "replaced", "Delete the old disks of {}?", yes, no_wait, as_json)


@app.command("take-back", epilog="Example: naos backup take-back web-1 --yes")
def take_back(
    context: typer.Context, *, name: RestoreName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Give a machine its old disks again; the restored ones are deleted, with what was written since."""
    _decide(context, name, "take_back", "replaced", "Delete the restored disks of {}?", yes, no_wait, as_json)


@app.command("clean-up", epilog="Example: naos backup clean-up web-1-test --yes")
def clean_up(
    context: typer.Context, *, name: RestoreName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete the machine and the network of a test."""
    _decide(context, name, "clean_up", "test", "Delete the test {}?", yes, no_wait, as_json)


@app.command(epilog="Example: naos backup convert web-1-test")
def convert(
    context: typer.Context,
    *,
    name: RestoreName,
    network: Network = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Keep the stopped machine of a test, on the networks that the machine had."""
    with connect(context) as api:
        found = _restore(api, name, ("test",))
        body = {"networks": networks_of(api, network or ())}
        activity = api.write("POST", f"{RESTORES}/{found['id']}/convert", body)
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            show_object(api.get(f"{RESTORES}/{found['id']}"), RESTORE_LIST, as_json=as_json)


def _decide(
    context: typer.Context,
    name: str,
    word: str,
    state: str,
    question: str,
    yes: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    with connect(context) as api:
        found = _restore(api, name, (state,))
        options.confirm(question.format(plain(found["name"])), yes=yes)
        activity = api.write("POST", f"{RESTORES}/{found['id']}/{word}")
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            show_object(api.get(f"{RESTORES}/{found['id']}"), RESTORE_LIST, as_json=as_json)
