"""`naos backup`: runs and restore points. Restores and reports are modules of their own."""

from typing import Annotated, Any

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import MACHINE, find_id, normal_id
from naos.cli.options import AsCsv, AsJson, NoWait, Yes, completes
from naos.cli.output import Column, field, gib, note, plain, show_list, show_object, since_epoch
from naos.cli.policy import BACKUP, POLICY

app = typer.Typer(no_args_is_help=True, help="Backups: runs of policies, restore points, restores, reports.")

POINTS = f"{BACKUP}/restore_points"


def moment(value: Any) -> str:
    return "" if value is None else since_epoch(value)


POINT_LIST = (
    field("MACHINE", "name"),
    field("TAKEN", "takenAt", show=moment),
    field("POLICY", "policyName"),
    field("SITE", "site"),
    field("STATE", "state"),
    field("CONSISTENCY", "consistency"),
    field("SIZE", "size", show=gib, right=True),
    field("STORED", "stored", show=gib, right=True),
    field("KEPT FOR", "keptFor"),
    field("ID", "id"),
)
POINT_SHOWN = (
    *POINT_LIST,
    field("STORAGE", "storage"),
    field("COPIED", "copied", show=gib),
    field("IMMUTABLE UNTIL", "immutableUntil", show=moment),
    field("VERIFIED", "verifiedAt", show=moment),
    field("BOOTED", "bootedAt", show=moment),
    field("BOOT TEST", "bootNote"),
    Column("DISKS", lambda point: [f"{disk['name']} ({disk['id']})" for disk in point["disks"]], "; ".join),
    field("NOTE", "note"),
)
RUNS = (
    field("RUN", "id"),
    field("JOB", "jobName"),
    field("STATUS", "status"),
    field("STARTED", "start", show=moment),
    Column("SECONDS", lambda run: round(run["duration"] / 1000, 1), right=True),
    field("MACHINES", "statistics", "total", right=True),
    field("COPIED", "statistics", "success", right=True),
    field("FAILED", "statistics", "failed", right=True),
    field("SKIPPED", "statistics", "skipped", right=True),
    field("LEFT OUT", "overruns", right=True),
)
TASKS = (
    field("MACHINE", "name"),
    field("STATUS", "status"),
    field("COPIED", "copied", show=gib, right=True),
    field("ENDED", "end", show=moment),
    field("REASON", "reason"),
)
OfMachine = typer.Option("--vm", metavar="VM", help="Of this machine only.", autocompletion=completes(MACHINE))
OfPolicy = typer.Option("--policy", metavar="POLICY", help="Of this policy only.", autocompletion=completes(POLICY))
PointName = Annotated[
    str,
    typer.Argument(
        metavar="POINT", help="Id of a restore point, or a machine: then its newest good one.", show_default=False
    ),
]


def machine_of(api: Api, reference: str | None) -> str | None:
    """The id of a machine; one that was deleted is named by its id."""
    return None if reference is None else normal_id(reference) or find_id(api, MACHINE, reference)


def find_point(api: Api, reference: str) -> Json:
    """A point by its id, or a machine's newest good one; the machine may be gone, and then goes by the name that it had."""
    identifier = normal_id(reference)
    if identifier is not None:
        try:
            found: Json = api.get(f"{POINTS}/{identifier}")
        except Failure as failure:
            if failure.status != 404:
                raise
        else:
            return found
    every = [point for point in api.get(POINTS) if reference in (point["name"], point["virtualMachineId"])]
    good = [point for point in every if point["state"] == "good"]
    if len({point["virtualMachineId"] for point in good}) > 1:
        choices = ", ".join(sorted({point["virtualMachineId"] for point in good}))
        raise Failure(f"Several machines were named {plain(reference)}; say which by its id: {choices}.")
    if not good:
        raise Failure(f"There is no good restore point of {plain(reference)}; `naos backup list` shows what there is.")
    newest: Json = good[0]
    return newest


@app.command("list", epilog="Example: naos backup list --vm web-1")
def list_points(
    context: typer.Context,
    *,
    vm: Annotated[str | None, OfMachine] = None,
    policy: Annotated[str | None, OfPolicy] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List restore points, the newest first; those of deleted machines too."""
    with connect(context) as api:
        filters = {
            "virtualMachineId": machine_of(api, vm),
            "policyId": None if policy is None else find_id(api, POLICY, policy),
        }
        found = api.get(POINTS, **filters)
    show_list(found, POINT_LIST, as_json=as_json, as_csv=as_csv, empty="There is no restore point.")


@app.command(epilog="Example: naos backup show web-1")
def show(context: typer.Context, point: PointName, as_json: AsJson = False) -> None:
    """Show a restore point."""
    with connect(context) as api:
        show_object(find_point(api, point), POINT_SHOWN, as_json=as_json)


@app.command(epilog="Example: naos backup run nightly --vm web-1")
def run(
    context: typer.Context,
    *,
    policy: Annotated[
        str,
        typer.Argument(metavar="POLICY", help="Name or id of the policy.", autocompletion=completes(POLICY)),
    ],
    vm: Annotated[list[str] | None, OfMachine] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Run a policy now, for all of its machines or some, and say what became of each."""
    with connect(context) as api:
        policy_id = find_id(api, POLICY, policy)
        job = next(job for job in api.get(f"{BACKUP}/jobs", type="protection") if job["policyId"] == policy_id)
        body: Json = {"jobId": job["id"]}
        if vm:
            body["virtualMachineIds"] = [find_id(api, MACHINE, name) for name in vm]
        activity = api.write("POST", f"{BACKUP}/jobs/run", body)
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is None:
            return
        latest = next(entry for entry in api.get(f"{BACKUP}/jobs/session") if entry["jobId"] == job["id"])
        tasks = api.get(f"{BACKUP}/jobs/session/{latest['id']}/virtual_machines")
        note(f"Run {latest['id']} of {policy}: {latest['status']}.")
        show_list(tasks, TASKS, as_json=as_json)
        if latest["status"] != "COMPLETED":
            raise typer.Exit(1)


@app.command(epilog="Example: naos backup runs")
def runs(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the runs of policies, the newest first."""
    with connect(context) as api:
        found = [entry for entry in api.get(f"{BACKUP}/jobs/session") if entry["type"] == "protection"]
    show_list(found, RUNS, as_json=as_json, as_csv=as_csv, empty="No policy has run yet.")


@app.command(epilog="Example: naos backup machines 12")
def machines(
    context: typer.Context,
    *,
    number: Annotated[int, typer.Argument(metavar="RUN", help="Number of the run.", show_default=False)],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the machines of a run, and what became of each."""
    with connect(context) as api:
        found = api.get(f"{BACKUP}/jobs/session/{number}/virtual_machines")
    show_list(found, TASKS, as_json=as_json, as_csv=as_csv)


@app.command(epilog="Example: naos backup verify web-1")
def verify(context: typer.Context, *, point: PointName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Read a restore point whole, and compare it with the checksums of its arrival."""
    with connect(context) as api:
        found = find_point(api, point)
        activity = api.write("POST", f"{POINTS}/{found['id']}/verify")
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            after = api.get(f"{POINTS}/{found['id']}")
            show_object(after, POINT_SHOWN, as_json=as_json)
            if after["state"] != "good":
                raise typer.Exit(1)


@app.command("boot-test", epilog="Example: naos backup boot-test web-1")
def boot_test(context: typer.Context, *, point: PointName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Start a machine of a restore point on a network of its own, wait for a sign of life, and clean up."""
    with connect(context) as api:
        found = find_point(api, point)
        activity = api.write("POST", f"{POINTS}/{found['id']}/boot_test")
        if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
            after = api.get(f"{POINTS}/{found['id']}")
            show_object(after, POINT_SHOWN, as_json=as_json)
            if after["bootNote"].startswith("failed"):
                raise typer.Exit(1)


@app.command(epilog="Example: naos backup delete 0b9e3c3e-5a0f-4f5e-9d5e-3c1f7f0f2a11 --yes")
def delete(
    context: typer.Context,
    *,
    point: PointName,
    force: Annotated[bool, typer.Option("--force", help="Also the last good one of a machine that is there.")] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Delete a restore point that is neither immutable nor held."""
    with connect(context) as api:
        found = find_point(api, point)
        what = f"the restore point of {plain(found['name'])} of {moment(found['takenAt'])}"
        options.confirm(f"Delete {what}?", yes=yes)
        activity = api.write("DELETE", f"{POINTS}/{found['id']}" + ("?force=true" if force else ""))
        options.deleted(api, activity, what, no_wait=no_wait, as_json=as_json)
