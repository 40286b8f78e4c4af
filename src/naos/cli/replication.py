"""`naos replication`: volumes that are copied to another zone, and how old their copies are."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import VOLUME, ZONE, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, VolumeName, Yes, completes
from naos.cli.output import Column, field, gib, moment, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Volumes that are copied to another zone.")

PATH = "/replication/v1/volumes"


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
def show(context: typer.Context, volume: VolumeName, as_json: AsJson = False) -> None:
    """Show a volume's replication."""
    with connect(context) as api:
        show_object(_of(api, volume), SHOWN, as_json=as_json)


@app.command(epilog="Example: naos replication create data-1 --to par2")
def create(
    context: typer.Context,
    *,
    volume: VolumeName,
    to: Annotated[str, typer.Option(metavar="ZONE", help="The other zone.", autocompletion=completes(ZONE))],
    mode: Annotated[
        Mode, typer.Option(help="Synchronous replication is no longer offered; the refusal says why.")
    ] = Mode.ASYNCHRONOUS,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Replicate a volume: a replica of its class and size is made in the other zone and kept up to date."""
    with connect(context) as api:
        body = {"volumeId": find_id(api, VOLUME, volume), "zoneId": find_id(api, ZONE, to), "mode": mode.value}
        ended = waiting.finish(api, api.write("POST", PATH, body), no_wait=no_wait, as_json=as_json)
        if ended is not None:
            note(f"Volume {volume} is replicated; its first point is being taken.")
            show_object(_of(api, volume), SHOWN, as_json=as_json)


@app.command(epilog="Example: naos replication delete data-1 --yes")
def delete(
    context: typer.Context, *, volume: VolumeName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """End a volume's replication: the replica, its points and its space go."""
    with connect(context) as api:
        found = _of(api, volume)
        options.confirm(
            f"End the replication of volume {volume} and delete its copy in {found['replica']['zone']}?", yes=yes
        )
        activity = api.write("DELETE", f"{PATH}/{found['id']}")
        options.deleted(api, activity, f"the replication of volume {volume}", no_wait=no_wait, as_json=as_json)


def _of(api: Api, volume: str) -> Json:
    """The replication that a volume is the source or the replica of."""
    found: Json = api.get(f"{PATH}/{find_id(api, VOLUME, volume)}")
    return found
