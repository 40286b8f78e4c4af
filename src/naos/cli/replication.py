"""`naos replication`: volumes that are copied to another zone, and how old their copies are."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import VOLUME, ZONE, Kind, ambiguous, find_id, normal_id, normal_name, unknown
from naos.cli.options import AsCsv, AsJson, NoWait, VolumeName, Yes, completes
from naos.cli.output import Column, field, gib, moment, note, show_list, show_object
from naos.units import size_text

app = typer.Typer(no_args_is_help=True, help="Volumes that are copied to another zone.")

PATH = "/replication/v1/volumes"
REPLICATION = Kind("replicated volume", PATH, "naos replication list", by_name=False)


class Mode(StrEnum):
    """How writes and copies go together."""

    ASYNCHRONOUS = "asynchronous"
    SYNCHRONOUS = "synchronous"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} s"


def _bytes(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:,.1f} MB"


def _running(replication: Json) -> str:
    running = replication["running"]
    if running is None:
        return ""
    left = "" if running["left"] is None else f", {_seconds(running['left'])} left"
    share = running["done"] / running["total"] if running["total"] else 0.0
    return f"{share:.0%} of {_bytes(running['total'])} at {_bytes(running['rate'])}/s{left}"


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _rate(value: int | None) -> str:
    return f"{size_text(value)}/s" if value else "none"


def _limits(replication: Json) -> str:
    limits = replication["limits"]
    told = [f"{_rate(entry['speed'])} in {entry['window']} {limits['timeZone']}" for entry in limits["windows"]]
    return ", ".join([_rate(limits["speed"]), *told])


def _speed(text: str) -> int:
    """Bytes a second; ``none`` is 0."""
    return 0 if text == "none" else options.size(text)


def _window(text: str) -> Json:
    """``08:00-18:00=20MiB``"""
    window, found, speed = text.partition("=")
    if not found:
        raise typer.BadParameter(f"{text!r} has no speed; write for example 08:00-18:00=20MiB or 08:00-18:00=none")
    return {"window": window.strip(), "speed": _speed(speed.strip())}


Speed = Annotated[
    int | None,
    typer.Option(
        metavar="SIZE",
        parser=_speed,
        help="The volume's points travel at so much a second at most, or none.",
        show_default=False,
    ),
]
Windows = Annotated[
    list[str] | None,
    typer.Option(
        "--window",
        metavar="FROM-TO=SIZE",
        help="What holds between two times of the day instead; repeat it.",
        show_default=False,
    ),
]
TimeZone = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Whose wall clock the windows go by.", show_default=False)
]
Reference = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The replication's id, or name or id of either of its volumes.",
        autocompletion=completes(VOLUME),
        show_default=False,
    ),
]


def _wish(speed: int | None, windows: list[str] | None, time_zone: str | None) -> Json:
    entries = None if windows is None else [_window(text) for text in windows]
    given = {"speed": speed, "windows": entries, "timeZone": time_zone}
    return {key: value for key, value in given.items() if value is not None}


LIST = (
    field("VOLUME", "source", "name"),
    field("FROM", "source", "zone"),
    field("TO", "replica", "zone"),
    field("CLASS", "source", "storageClass"),
    field("SIZE", "source", "capacity", show=gib, right=True),
    field("HEALTH", "health"),
    field("AGE", "recoveryPoint", "rpoAchieved", show=_seconds, right=True),
    field("PROMISED", "recoveryPoint", "rpoPromised", show=_seconds, right=True),
    field("STATUS", "status"),
    field("ID", "id"),
)
SHOWN = (
    *LIST,
    field("REPLICA", "replica", "name"),
    field("LAST POINT", "recoveryPoint", "instant", show=moment),
    field("LAST TOOK", "last", "seconds", show=_seconds),
    field("LAST CARRIED", "last", "bytes", show=_bytes),
    Column("UNDER WAY", _running),
    Column("LIMIT", _limits),
    field("FAILURE", "failure", show=_plain),
    field("ALARM", "alarm", show=_plain),
)


@app.command("list", epilog="Example: naos replication list")
def list_replications(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the replicated volumes, and the age of each copy at this moment."""
    with connect(context) as api:
        found = api.get(PATH)
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="No volume is replicated.")


@app.command(epilog="Example: naos replication show data-1")
def show(context: typer.Context, volume: Reference, as_json: AsJson = False) -> None:
    """Show a volume's replication."""
    with connect(context) as api:
        show_object(_of(api, volume), SHOWN, as_json=as_json)


@app.command(
    "set",
    epilog="Example: naos replication set data-1 --speed none --window 08:00-18:00=20MiB --time-zone Europe/Paris",
)
def change(
    context: typer.Context,
    *,
    volume: Reference,
    speed: Speed = None,
    windows: Windows = None,
    no_windows: Annotated[bool, typer.Option("--no-windows", help="At all times the same.")] = False,
    time_zone: TimeZone = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Change how fast the points of a volume travel; windows that are given replace those that there are."""
    body = _wish(speed, [] if no_windows else windows or None, time_zone)
    if not body:
        raise typer.BadParameter("say what is to change: --speed, --window, --no-windows or --time-zone")
    with connect(context) as api:
        found = _of(api, volume)
        ended = waiting.finish(api, api.write("PATCH", f"{PATH}/{found['id']}", body), no_wait=no_wait, as_json=as_json)
        if ended is not None:
            show_object(_of(api, found["id"]), SHOWN, as_json=as_json)


@app.command(epilog="Example: naos replication create data-1 --to par2")
def create(
    context: typer.Context,
    *,
    volume: VolumeName,
    to: Annotated[str, typer.Option(metavar="ZONE", help="The other zone.", autocompletion=completes(ZONE))],
    mode: Annotated[
        Mode, typer.Option(help="Synchronous replication is no longer offered; the refusal says why.")
    ] = Mode.ASYNCHRONOUS,
    speed: Speed = None,
    windows: Windows = None,
    time_zone: TimeZone = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Replicate a volume: a replica of its class and size is made in the other zone and kept up to date."""
    with connect(context) as api:
        volume_id = find_id(api, VOLUME, volume)
        body = {"volumeId": volume_id, "zoneId": find_id(api, ZONE, to), "mode": mode.value}
        body |= _wish(speed, windows or None, time_zone)
        ended = waiting.finish(api, api.write("POST", PATH, body), no_wait=no_wait, as_json=as_json)
        if ended is not None:
            note(f"Volume {volume} is replicated; its first point is being taken.")
            show_object(api.get(f"{PATH}/{volume_id}"), SHOWN, as_json=as_json)


@app.command(epilog="Example: naos replication delete data-1 --yes")
def delete(
    context: typer.Context, *, volume: Reference, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """End a volume's replication: the replica, its points and its space go."""
    with connect(context) as api:
        found = _of(api, volume)
        options.confirm(
            f"End the replication of volume {volume} and delete its copy in {found['replica']['zone']}?", yes=yes
        )
        activity = api.write("DELETE", f"{PATH}/{found['id']}")
        options.deleted(api, activity, f"the replication of volume {volume}", no_wait=no_wait, as_json=as_json)


def _of(api: Api, reference: str) -> Json:
    """The replication that has this id, or whose source or replica is so named. Raises Failure as `naming.find` does."""
    identifier, name = normal_id(reference), normal_name(reference)
    present: list[Json] = api.get(PATH)
    sides = [(item, side) for item in present for side in (item["source"], item["replica"])]
    found = [item for item in present if item["id"] == identifier]
    found = found or [item for item, side in sides if side["id"] == identifier]
    found = found or [item for item, side in sides if side["name"] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise ambiguous(
            REPLICATION, reference, [{**item, "datacenter": {"name": item["source"]["zone"]}} for item in found]
        )
    raise unknown(REPLICATION, reference, [side["name"] for _, side in sides])
