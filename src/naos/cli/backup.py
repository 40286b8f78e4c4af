"""`naos backup`: runs, restore points, restores, reports and the quota of backup."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import DISK, MACHINE, POOL, VLAN, VOLUME, Kind, find, find_id, normal_id
from naos.cli.options import AsCsv, AsJson, NoWait, Yes, completes
from naos.cli.output import Column, field, gib, note, plain, show_list, show_object, since_epoch
from naos.cli.policy import BACKUP, POLICY

app = typer.Typer(no_args_is_help=True, help="Backups: runs of policies, restore points, restores, reports.")

POINTS = f"{BACKUP}/restore_points"
RESTORES = f"{BACKUP}/restores"
RESTORE = Kind("restore", RESTORES, "naos backup restores", by_name=False)


class Mode(StrEnum):
    """What becomes of a restore, as `--mode` names it."""

    TEST = "test"
    CLONE = "clone"
    PRODUCTION = "production"


def _moment(value: Any) -> str:
    return "" if value is None else since_epoch(value)


POINT_LIST = (
    field("MACHINE", "name"),
    field("TAKEN", "takenAt", show=_moment),
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
    field("IMMUTABLE UNTIL", "immutableUntil", show=_moment),
    field("VERIFIED", "verifiedAt", show=_moment),
    field("BOOTED", "bootedAt", show=_moment),
    field("BOOT TEST", "bootNote"),
    Column("DISKS", lambda point: [f"{disk['name']} ({disk['id']})" for disk in point["disks"]], "; ".join),
    field("NOTE", "note"),
)
RUNS = (
    field("RUN", "id"),
    field("JOB", "jobName"),
    field("STATUS", "status"),
    field("STARTED", "start", show=_moment),
    Column("SECONDS", lambda run: round(run["duration"] / 1000, 1), right=True),
    field("MACHINES", "statistics", "total", right=True),
    field("COPIED", "statistics", "success", right=True),
    field("FAILED", "statistics", "failed", right=True),
    field("SKIPPED", "statistics", "skipped", right=True),
)
TASKS = (
    field("MACHINE", "name"),
    field("STATUS", "status"),
    field("COPIED", "copied", show=gib, right=True),
    field("ENDED", "end", show=_moment),
    field("REASON", "reason"),
)
LACKING = (
    field("MACHINE", "name"),
    field("POLICIES", "policies"),
    field("LATEST", "latest", show=_moment),
    field("REASON", "reason"),
)
RESTORE_LIST = (
    field("MACHINE", "name"),
    field("MODE", "mode"),
    field("STATE", "state"),
    field("BEGUN", "createdAt", show=_moment),
    field("OLD DISKS", "oldDisks"),
    field("ID", "id"),
)
QUOTA = (
    field("USED", "used", show=gib),
    field("QUOTA", "size", show=gib),
    field("ALARM", "alarm"),
    field("DAYS LEFT", "daysLeft"),
)
OfMachine = typer.Option("--vm", metavar="VM", help="Of this machine only.", autocompletion=completes(MACHINE))
OfPolicy = typer.Option("--policy", metavar="POLICY", help="Of this policy only.", autocompletion=completes(POLICY))
PointName = Annotated[
    str,
    typer.Argument(
        metavar="POINT", help="Id of a restore point, or a machine: then its newest good one.", show_default=False
    ),
]
RestoreName = Annotated[
    str,
    typer.Argument(metavar="RESTORE", help="Id of the restore, or the machine that it made.", show_default=False),
]


def _machine(api: Api, reference: str | None) -> str | None:
    """The id of a machine; one that was deleted is named by its id."""
    return None if reference is None else normal_id(reference) or find_id(api, MACHINE, reference)


def _point(api: Api, reference: str) -> Json:
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
            "virtualMachineId": _machine(api, vm),
            "policyId": None if policy is None else find_id(api, POLICY, policy),
        }
        found = api.get(POINTS, **filters)
    show_list(found, POINT_LIST, as_json=as_json, as_csv=as_csv, empty="There is no restore point.")


@app.command(epilog="Example: naos backup show web-1")
def show(context: typer.Context, point: PointName, as_json: AsJson = False) -> None:
    """Show a restore point."""
    with connect(context) as api:
        show_object(_point(api, point), POINT_SHOWN, as_json=as_json)


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
        found = _point(api, point)
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
        found = _point(api, point)
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
        found = _point(api, point)
        what = f"the restore point of {plain(found['name'])} of {_moment(found['takenAt'])}"
        options.confirm(f"Delete {what}?", yes=yes)
        activity = api.write("DELETE", f"{POINTS}/{found['id']}" + ("?force=true" if force else ""))
        options.deleted(api, activity, what, no_wait=no_wait, as_json=as_json)


# ------------------------------------------------------------------------------------------------------------- restores


def _networks(api: Api, pairs: Sequence[str]) -> list[Json]:
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


@app.command(epilog="Example: naos backup restore web-1 --mode clone --name web-2")
def restore(
    context: typer.Context,
    *,
    point: PointName,
    mode: Annotated[
        Mode,
        typer.Option(
            help="test: on a network of its own. clone: another machine. production: the machine's own disks."
        ),
    ] = Mode.TEST,
    name: Annotated[str | None, typer.Option(help="Name of the machine that is made.", show_default=False)] = None,
    disk: Annotated[
        list[str] | None, typer.Option(metavar="DISK", help="Only this disk of the point, by name or id.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option(help="Another pool.", autocompletion=completes(POOL), show_default=False)
    ] = None,
    volume: Annotated[
        str | None, typer.Option(help="Another volume.", autocompletion=completes(VOLUME), show_default=False)
    ] = None,
    network: Network = None,
    start: Annotated[bool, typer.Option("--start", help="Start it when it is there.")] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Restore a machine, or some of its disks. In production its present disks are kept until you confirm."""
    with connect(context) as api:
        found = _point(api, point)
        present = any(item["id"] == found["virtualMachineId"] for item in api.get(MACHINE.path))
        replacing = mode is Mode.PRODUCTION and present
        if replacing:
            taken = _moment(found["takenAt"])
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
            body["networks"] = _networks(api, network)
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
        body = {"networks": _networks(api, network or ())}
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


# -------------------------------------------------------------------------------------------------------------- reports


@app.command(epilog="Example: naos backup report --days 7 --csv")
def report(
    context: typer.Context,
    *,
    days: Annotated[int, typer.Option(min=1, max=366, help="How many days, up to today.")] = 14,
    policy: Annotated[str | None, OfPolicy] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what happened to each machine on each day: good, damaged, failed, skipped, or nothing."""
    with connect(context) as api:
        policy_id = None if policy is None else find_id(api, POLICY, policy)
        found = api.get(f"{BACKUP}/reports/matrix", days=str(days), policyId=policy_id)
    columns = [field("MACHINE", "name")]
    for position, day in enumerate(found["days"]):
        columns.append(Column(day, lambda row, place=position: row["days"][place]))  # type: ignore[misc]
    if as_json:
        show_object(found, (), as_json=True)
    else:
        show_list(found["machines"], columns, as_csv=as_csv, empty="Nothing ran in these days.")


@app.command(epilog="Example: naos backup unprotected")
def unprotected(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the machines of which nothing is copied."""
    with connect(context) as api:
        found = api.get(f"{BACKUP}/reports/unprotected")
    show_list(found, LACKING, as_json=as_json, as_csv=as_csv, empty="Every machine has a policy that copies it.")


@app.command(epilog="Example: naos backup stale --hours 48")
def stale(
    context: typer.Context,
    *,
    hours: Annotated[int, typer.Option(min=1, help="Without a good restore point for so long.")] = 26,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the machines under a policy without a good restore point of late, and why."""
    with connect(context) as api:
        found = api.get(f"{BACKUP}/reports/stale", hours=str(hours))
    show_list(found, LACKING, as_json=as_json, as_csv=as_csv, empty="Every machine was copied since.")


@app.command(epilog="Example: naos backup quota --set 2TiB")
def quota(
    context: typer.Context,
    *,
    wanted: Annotated[
        int | None,
        typer.Option(
            "--set", metavar="SIZE", parser=options.size, help=f"Let the tenant have so much: {options.SIZE_HELP}"
        ),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Let the tenant have as much as there is.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Show, or set, how much the tenant may have in vaults."""
    if none and wanted is not None:
        raise typer.BadParameter("say --set or --none, not both", param_hint="--none")
    with connect(context) as api:
        if none or wanted is not None:
            activity = api.write("PUT", f"{BACKUP}/quota", {"size": wanted})
            if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is None:
                return
        show_object(api.get(f"{BACKUP}/quota"), QUOTA, as_json=as_json)
