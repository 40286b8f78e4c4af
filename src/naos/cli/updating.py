"""`naos pool update`, `updates`, `cancel-update`, `processor`: what the blades of a pool run and are."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import POOL, find, find_build
from naos.cli.options import AsCsv, AsJson, NoWait, PoolName, Yes
from naos.cli.output import Column, field, json_out, note, show_list
from naos.cli.pool import app

LONGEST_PAUSE_SECONDS = 2.0
LIST = (
    field("BUILD", "build", "name"),
    field("STATE", "state"),
    Column("BLADES", lambda update: ", ".join(f"{entry['host']} {entry['phase']}" for entry in update["hosts"])),
    field("BEGUN", "createdAt"),
    field("ENDED", "endedAt"),
    field("WHY", "reason"),
    field("ID", "id"),
)
BLADES = (field("BLADE", "host"), field("PHASE", "phase"), field("WHY", "reason"))


@app.command("update", epilog="Example: naos pool update web --build 8.2")
def update(
    context: typer.Context,
    *,
    name: PoolName,
    build: Annotated[str, typer.Option(help="Version or id of the build.")],
    accept_downtime: Annotated[
        bool,
        typer.Option("--accept-downtime", help="Shut machines down that cannot move, and start them again afterwards."),
    ] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Bring a pool's blades to a hypervisor build, one after the other; its machines run on other blades meanwhile."""
    with connect(context) as api:
        pool, wanted = find(api, POOL, name), find_build(api, build)
        question = f"Bring {len(pool['hosts'])} blade(s) of pool {pool['name']} to build {wanted['version']}?"
        options.confirm(question, yes=yes)
        path = f"{POOL.path}/{pool['id']}/updates"
        body = {"buildId": wanted["id"], "acceptDowntime": accept_downtime}
        began = waiting.finish(api, api.write("POST", path, body), no_wait=no_wait, as_json=as_json)
        if began is None:
            return
        found = _follow(api, f"{path}/{waiting.made(began, 'pool_update')}")
    if as_json:
        json_out(found)
    else:
        show_list(found["hosts"], BLADES)
    if found["state"] != "done":
        raise Failure(f"The update of pool {pool['name']} is {found['state']}: {found['reason']}")
    note(f"Pool {pool['name']} has build {wanted['version']}.")


def _follow(api: Api, path: str) -> Json:
    """The update once it has ended. Ctrl-C leaves it running."""
    pause = 0.2
    try:
        while True:
            found: Json = api.get(path)
            if found["state"] not in ("running", "ending"):
                return found
            api.connection.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    except KeyboardInterrupt:
        note("The update goes on without you; `naos pool updates` shows how far it is.")
        raise typer.Exit(waiting.INTERRUPTED) from None


@app.command("updates", epilog="Example: naos pool updates web")
def updates(context: typer.Context, *, name: PoolName, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the hypervisor updates of a pool, the latest first."""
    with connect(context) as api:
        pool = find(api, POOL, name)
        found = api.get(f"{POOL.path}/{pool['id']}/updates")
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=f"Pool {pool['name']} has taken no build yet.")


@app.command("cancel-update", epilog="Example: naos pool cancel-update web")
def cancel_update(context: typer.Context, *, name: PoolName, as_json: AsJson = False) -> None:
    """End a pool's update after the blade that is in hand."""
    with connect(context) as api:
        pool = find(api, POOL, name)
        path = f"{POOL.path}/{pool['id']}/updates"
        running = [entry for entry in api.get(path) if entry["state"] in ("running", "ending")]
        if not running:
            raise Failure(f"Pool {pool['name']} is not being updated.")
        ended = waiting.finish(
            api, api.write("POST", f"{path}/{running[0]['id']}/cancel"), no_wait=False, as_json=as_json
        )
    if ended is not None and as_json:
        json_out(ended)
    elif ended is not None:
        note(f"The update of pool {pool['name']} ends after the blade in hand.")


OUTDATED = (
    field("MACHINE", "virtualMachine", "name"),
    Column("WAS SHOWN", lambda entry: ", ".join(entry["beyond"])),
    Column("CANNOT GO TO", lambda entry: ", ".join(entry["hosts"])),
)


@app.command("processor", epilog="Example: naos pool processor web")
def processor(context: typer.Context, *, name: PoolName, as_json: AsJson = False) -> None:
    """Show the processor that a pool's guests are shown at their start: what every one of its blades has."""
    with connect(context) as api:
        pool = find(api, POOL, name)
        found: Json = api.get(f"{POOL.path}/{pool['id']}/processor")
    if as_json:
        json_out(found)
        return
    note(
        f"Guests of {pool['name']} are shown {found['model'] or 'what their blade has'}: {' '.join(found['features'])}"
    )
    if found["outdated"]:
        show_list(found["outdated"], OUTDATED)
        note("Start these machines anew, so that every blade can take them over.")
