"""`naos recovery replica`: machines that are copied to another zone one by one; and how runs are shown."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import MACHINE, POOL, VOLUME, find, find_id
from naos.cli.options import AsCsv, AsJson, MachineName, NoWait, Yes, completes
from naos.cli.output import Column, field, json_out, moment, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Replicas: machines that are copied to another zone one by one.")

REPLICAS, RUNS = "/recovery/v1/replicas", "/recovery/v1/runs"


def age(seconds: float | None) -> str:
    """``12 s``, ``3 min 20 s``, ``1 h 5 min``"""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


LIST = (
    field("MACHINE", "virtualMachine", "name"),
    field("TO", "hostCluster", "name"),
    field("VOLUME", "datastore", "name"),
    field("EVERY", "interval", show=age, right=True),
    field("STATE", "state"),
    field("AGE", "age", show=age, right=True),
    field("LATE", "late"),
    Column("POINTS", lambda replica: len(replica["points"]), right=True),
    field("ID", "id"),
)
SHOWN = (
    *LIST,
    field("KEPT POINTS", "keep"),
    field("NEXT", "nextAt", show=moment),
    field("LAST TOOK", "lastSeconds", show=age),
    field("LAST CARRIED BYTES", "lastSent"),
    field("FAILURE", "failure"),
    field("WARNING", "warning"),
)
POINTS = (field("INSTANT", "instant", show=moment), field("BYTES", "sent", right=True), field("ID", "id"))
STEPS = (
    field("STEP", "name"),
    field("OUTCOME", "outcome"),
    Column("SECONDS", lambda step: "" if step["seconds"] is None else f"{step['seconds']:.3f}", right=True),
    field("REMARK", "remark"),
)
LOSSES = (
    field("POINT", "instant", show=moment),
    field("LOST SECONDS", "lostSeconds", right=True),
    field("ID", "pointId"),
)
Point = Annotated[
    str | None, typer.Option(metavar="ID", help="This point instead of the last one.", show_default=False)
]
Minutes = Annotated[int | None, typer.Option(min=1, help="Minutes from one point to the next.", show_default=False)]
Keep = Annotated[int | None, typer.Option(min=1, help="How many points are kept.", show_default=False)]


@app.command("list", epilog="Example: naos recovery replica list")
def list_replicas(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the replicas, and how old each is at this moment."""
    with connect(context) as api:
        found = api.get(REPLICAS)
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="No machine is replicated.")


def _of(api: Api, machine: str) -> Json:
    found = api.get(REPLICAS, virtualMachineId=find_id(api, MACHINE, machine))
    if not found:
        raise Failure(f"Machine {machine!r} has no replica; `naos recovery replica create` makes one.")
    replica: Json = found[0]
    return replica


def _show(replica: Json, *, as_json: bool) -> None:
    show_object(replica, SHOWN, as_json=as_json)
    if not as_json and replica["points"]:
        show_list(replica["points"], POINTS)


@app.command(epilog="Example: naos recovery replica show web-1")
def show(context: typer.Context, machine: MachineName, as_json: AsJson = False) -> None:
    """Show a machine's replica and its points."""
    with connect(context) as api:
        _show(_of(api, machine), as_json=as_json)


@app.command(epilog="Example: naos recovery replica create web-1 --pool web-2 --volume data-2 --every 60 --keep 4")
def create(
    context: typer.Context,
    *,
    machine: MachineName,
    pool: Annotated[str, typer.Option(help="Pool of the other zone.", autocompletion=completes(POOL))],
    volume: Annotated[str, typer.Option(help="Volume there that keeps it.", autocompletion=completes(VOLUME))],
    every: Minutes = None,
    keep: Keep = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Replicate a machine; every hour, and with four points, unless something else is said."""
    with connect(context) as api:
        body = {
            "virtualMachineId": find_id(api, MACHINE, machine),
            "hostClusterId": find_id(api, POOL, pool),
            "datastoreId": find_id(api, VOLUME, volume),
            "interval": (every or 60) * 60,
            "keep": keep or 4,
        }
        if waiting.finish(api, api.write("POST", REPLICAS, body), no_wait=no_wait, as_json=as_json) is not None:
            _show(_of(api, machine), as_json=as_json)


@app.command("set", epilog="Example: naos recovery replica set web-1 --every 120")
def change(
    context: typer.Context,
    *,
    machine: MachineName,
    every: Minutes = None,
    keep: Keep = None,
    paused: Annotated[
        bool | None, typer.Option("--pause/--go-on", help="Take no further points, or go on.", show_default=False)
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Change the interval or the number of points, pause or go on."""
    with connect(context) as api:
        said = {"interval": every and every * 60, "keep": keep, "paused": paused}
        body = {key: value for key, value in said.items() if value is not None}
        activity = api.write("PATCH", f"{REPLICAS}/{_of(api, machine)['id']}", body)
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            _show(_of(api, machine), as_json=as_json)


@app.command("run", epilog="Example: naos recovery replica run web-1")
def run_now(context: typer.Context, *, machine: MachineName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Take the next point now."""
    with connect(context) as api:
        activity = api.write("POST", f"{REPLICAS}/{_of(api, machine)['id']}/run")
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            _show(_of(api, machine), as_json=as_json)


@app.command("test", epilog="Example: naos recovery replica test web-1")
def try_out(
    context: typer.Context,
    *,
    machine: MachineName,
    hold: Annotated[int, typer.Option(min=0, help="Seconds for which the machine stays up.")] = 0,
    point: Point = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Start a copy on a network of its own, then remove it. Replication goes on."""
    with connect(context) as api:
        body = {"hold": hold, **({"pointId": point} if point else {})}
        activity = api.write("POST", f"{REPLICAS}/{_of(api, machine)['id']}/test", body)
        show_report(api, activity, no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos recovery replica failover web-1 --yes")
def failover(
    context: typer.Context,
    *,
    machine: MachineName,
    unplanned: Annotated[
        bool, typer.Option("--unplanned", help="The old zone is lost: use the last complete point.")
    ] = False,
    source_is_down: Annotated[
        bool,
        typer.Option("--source-is-down", help="On your word the old zone is off, where that cannot be found out."),
    ] = False,
    point: Point = None,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Start a machine in the other zone. Without --unplanned it is shut down first, and nothing is lost."""
    with connect(context) as api:
        replica = _of(api, machine)
        options.confirm(f"Bring {machine} up in {replica['hostCluster']['name']}?", yes=yes)
        kind = "unplanned" if unplanned else "planned"
        body = {"kind": kind, "sourceIsDown": source_is_down, **({"pointId": point} if point else {})}
        activity = api.write("POST", f"{REPLICAS}/{replica['id']}/failover", body)
        show_report(api, activity, no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos recovery replica reverse web-1")
def reverse(context: typer.Context, *, machine: MachineName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """After a failover: replicate the machine back to where it came from."""
    with connect(context) as api:
        activity = api.write("POST", f"{REPLICAS}/{_of(api, machine)['id']}/reverse")
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            _show(_of(api, machine), as_json=as_json)


@app.command(epilog="Example: naos recovery replica discard web-1 --yes")
def discard(
    context: typer.Context, *, machine: MachineName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete the disks that a failover left on the old side."""
    with connect(context) as api:
        replica = _of(api, machine)
        options.confirm(f"Delete what {machine} left behind?", yes=yes)
        activity = api.write("POST", f"{REPLICAS}/{replica['id']}/discard")
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            note(f"Nothing of {machine} is left behind.")


@app.command(epilog="Example: naos recovery replica stop web-1 --yes")
def stop(
    context: typer.Context, *, machine: MachineName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Stop a machine's replication and drop its points; the machine stays as it is."""
    with connect(context) as api:
        found = find(api, MACHINE, machine)
        replica = _of(api, machine)
        options.confirm(f"Stop the replication of {found['name']} and drop its points?", yes=yes)
        activity = api.write("DELETE", f"{REPLICAS}/{replica['id']}")
        options.deleted(api, activity, f"the replica of {found['name']}", no_wait=no_wait, as_json=as_json)


# ------------------------------------------------------------------------------------------------------------- shown things


def show_report(api: Api, activity: str, *, no_wait: bool, as_json: bool) -> None:
    """Follow a run to its end and show its report. Raises Failure for one that did not succeed."""
    ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
    if ended is None:
        return
    run: Json = api.get(f"{RUNS}/{waiting.state_of(ended)[1]['result']}")
    if as_json:
        json_out(run)
    else:
        show_run(run)
    if run["state"] != "succeeded":
        raise Failure("Not everything came up; the report says what is missing.")


def show_run(run: Json) -> None:
    show_list(run["steps"], STEPS)
    report = run["report"]
    if report is None:
        return
    losses = [point for point in report.get("points", []) if "lostSeconds" in point]
    if losses:
        show_list(losses, LOSSES)
    note(f"{run['name']}: {run['kind']} {report['verdict']}. Report {run['id']}, signed under key {run['keyId']}.")


def show_explanation(found: Json, *, as_json: bool) -> None:
    if as_json:
        json_out(found)
        return
    for number, step in enumerate(found["steps"], 1):
        note(f"{number}. {step}")
    for remark in found["remarks"]:
        note(f"Mind: {remark}.")
    for problem in found["problems"]:
        note(f"In the way: {problem}.")
