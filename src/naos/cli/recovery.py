"""`naos recovery`: machines that come up together in another zone, tests of that, and their reports."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from naos.cli import options, recovery_replica, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.failures import Failure
from naos.cli.naming import MACHINE, POOL, VLAN, Kind, find, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, Yes, completes
from naos.cli.output import Column, dig, field, gib, json_out, moment, note, show_list, show_object
from naos.cli.recovery_replica import RUNS, age, show_report

app = typer.Typer(no_args_is_help=True, help="Recovery plans: machines that come up together in another zone.")
app.add_typer(recovery_replica.app, name="replica")

PLAN = Kind("recovery plan", "/recovery/v1/plans", "naos recovery list")


class RunKind(StrEnum):
    """What is told beforehand."""

    TEST = "test"
    PLANNED = "planned"
    UNPLANNED = "unplanned"
    FAILBACK = "failback"


class Check(StrEnum):
    """The sign of life that is awaited."""

    NONE = "none"
    AGENT = "agent"
    LINE = "line"


LIST = (
    field("NAME", "name"),
    field("FROM", "homeHostCluster", "name"),
    field("TO", "hostCluster", "name"),
    field("STATE", "state"),
    Column("MACHINES", lambda plan: len(plan["machines"]), right=True),
    field("AGE", "age", show=age, right=True),
    Column("SOUND", lambda plan: "no" if plan["problems"] else "yes"),
    field("ID", "id"),
)
SHOWN = (
    *LIST,
    field("MEMORY NEEDED", "neededMemory", show=gib),
    field("MEMORY FREE THERE", "freeMemory", show=gib),
    field("MEMORY KEPT", "reserve"),
    field("PROMISED SECONDS", "promise"),
    field("SHUTDOWN SECONDS", "shutdown"),
    field("DISKS LEFT BEHIND", "remnants"),
    field("OF THOSE NOT CUT OFF", "unfenced"),
    Column("PROBLEMS", lambda plan: "; ".join(plan["problems"])),
)
MEMBERS = (
    field("MACHINE", "virtualMachine", "name"),
    field("ORDER", "order", right=True),
    field("DELAY", "delay", right=True),
    field("CHECK", "check"),
    field("LINE", "line"),
    field("PATIENCE", "patience", right=True),
    Column(
        "ADDRESSES",
        lambda one: ", ".join(f"{at['macAddress']} {at['address'] or ''}".strip() for at in one["addresses"]),
    ),
)
RUN_LIST = (
    field("PLAN OR MACHINE", "name"),
    field("KIND", "kind"),
    field("STATE", "state"),
    field("STARTED", "startedAt", show=moment),
    Column("READY AFTER", lambda run: age(dig(run, "report", "readyAfterSeconds")), right=True),
    field("SIGNED", "genuine"),
    field("ID", "id"),
)

PlanName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name or id of the recovery plan.", autocompletion=completes(PLAN), show_default=False
    ),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network", metavar="HERE=THERE", help="At the other side this VLAN stands for that one.", show_default=False
    ),
]
Reserve = Annotated[
    bool | None,
    typer.Option("--reserve/--no-reserve", help="Keep memory for the machines free there.", show_default=False),
]
Promise = Annotated[
    int | None, typer.Option(min=1, help="Seconds within which all shall run; 4 h by default.", show_default=False)
]
Shutdown = Annotated[
    int | None,
    typer.Option(min=0, help="Seconds for which a guest may shut down; 120 by default.", show_default=False),
]


@app.command("list", epilog="Example: naos recovery list")
def list_plans(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List recovery plans, and whether each could be carried out now."""
    with connect(context) as api:
        found = api.get(PLAN.path)
    empty = "There is no recovery plan; `naos recovery create` makes one."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos recovery show shop")
def show(context: typer.Context, name: PlanName, as_json: AsJson = False) -> None:
    """Show a plan, its machines, and what is in its way, with the numbers."""
    with connect(context) as api:
        _show(find(api, PLAN, name), as_json=as_json)


def _show(plan: Json, *, as_json: bool) -> None:
    show_object(plan, SHOWN, as_json=as_json)
    if not as_json:
        show_list(plan["machines"], MEMBERS)


@app.command(epilog="Example: naos recovery create shop --pool web-2 --machine db --machine web-1 --order")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new plan.", show_default=False)],
    pool: Annotated[
        str, typer.Option(help="Pool of the other zone, where they come up.", autocompletion=completes(POOL))
    ],
    machine: Annotated[
        list[str], typer.Option(help="A machine; again for each further one.", autocompletion=completes(MACHINE))
    ],
    order: Annotated[
        bool, typer.Option("--order", help="Each machine waits for those that are named before it.")
    ] = False,
    network: Networks = None,
    reserve: Reserve = None,
    promise: Promise = None,
    shutdown: Shutdown = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Make a recovery plan of machines that are replicated, or whose volumes are."""
    with connect(context) as api:
        members = [
            {"virtualMachineId": find_id(api, MACHINE, one), "order": number if order else 0}
            for number, one in enumerate(machine)
        ]
        body: dict[str, Any] = {"name": name, "hostClusterId": find_id(api, POOL, pool), "machines": members}
        body |= _settings(api, network, reserve, promise, shutdown)
        ended = waiting.finish(api, api.write("POST", PLAN.path, body), no_wait=no_wait, as_json=as_json)
        if ended is not None:
            _show(api.get(f"{PLAN.path}/{waiting.made(ended, 'recovery_plan')}"), as_json=as_json)


def _settings(
    api: Api, network: list[str] | None, reserve: bool | None, promise: int | None, shutdown: int | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"reserve": reserve, "promise": promise, "shutdown": shutdown}
    if network:
        body["networks"] = [_mapping(api, text) for text in network]
    return {key: value for key, value in body.items() if value is not None}


def _mapping(api: Api, text: str) -> dict[str, str]:
    here, sign, there = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r} is not HERE=THERE", param_hint="--network")
    return {"networkId": find_id(api, VLAN, here), "destinationNetworkId": find_id(api, VLAN, there)}


@app.command("set", epilog="Example: naos recovery set shop --network front=front-2 --promise 3600")
def change(
    context: typer.Context,
    *,
    name: PlanName,
    pool: Annotated[
        str | None,
        typer.Option(help="Pool where they come up.", autocompletion=completes(POOL), show_default=False),
    ] = None,
    network: Networks = None,
    reserve: Reserve = None,
    promise: Promise = None,
    shutdown: Shutdown = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Change a plan; networks that are named take the place of all before."""
    with connect(context) as api:
        path = f"{PLAN.path}/{find_id(api, PLAN, name)}"
        body = _settings(api, network, reserve, promise, shutdown)
        if pool is not None:
            body["hostClusterId"] = find_id(api, POOL, pool)
        if waiting.finish(api, api.write("PATCH", path, body), no_wait=no_wait, as_json=as_json) is not None:
            _show(api.get(path), as_json=as_json)


@app.command(epilog="Example: naos recovery machine shop db --order 0 --check agent")
def machine(
    context: typer.Context,
    *,
    name: PlanName,
    vm: Annotated[
        str,
        typer.Argument(
            metavar="MACHINE", help="Name or id of the machine.", autocompletion=completes(MACHINE), show_default=False
        ),
    ],
    order: Annotated[
        int | None, typer.Option(min=0, help="Lower ones are up before higher ones begin.", show_default=False)
    ] = None,
    delay: Annotated[
        int | None, typer.Option(min=0, help="Seconds that it waits in its order.", show_default=False)
    ] = None,
    check: Annotated[Check | None, typer.Option(help="The sign of life that is awaited.", show_default=False)] = None,
    line: Annotated[str | None, typer.Option(help="What must appear on its console.", show_default=False)] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Seconds for the sign of life.", show_default=False)
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MAC=ADDRESS[,GATEWAY]", help="What its guest is told at the other side.", show_default=False
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take it out of the plan.")] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Add a machine to a plan, change what the plan says of it, or take it out."""
    with connect(context) as api:
        plan = find(api, PLAN, name)
        machine_id = find_id(api, MACHINE, vm)
        present = [_as_request(one) for one in plan["machines"]]
        mine = next((one for one in present if one["virtualMachineId"] == machine_id), None)
        others = [one for one in present if one is not mine]
        said = {"order": order, "delay": delay, "check": check and check.value, "line": line, "patience": patience}
        changed: dict[str, Any] = {**(mine or {"virtualMachineId": machine_id})}
        changed |= {key: value for key, value in said.items() if value is not None}
        if address is not None:
            changed["addresses"] = [_address(text) for text in address]
        body = {"machines": others if remove else [*others, changed]}
        path = f"{PLAN.path}/{plan['id']}"
        if waiting.finish(api, api.write("PATCH", path, body), no_wait=no_wait, as_json=as_json) is not None:
            _show(api.get(path), as_json=as_json)


def _as_request(member: Json) -> dict[str, Any]:
    kept = {key: member[key] for key in ("order", "delay", "check", "line", "patience", "addresses")}
    return {"virtualMachineId": member["virtualMachine"]["id"], **kept}


def _address(text: str) -> dict[str, str | None]:
    mac, sign, rest = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r} is not MAC=ADDRESS[,GATEWAY]", param_hint="--address")
    address, _, gateway = rest.partition(",")
    return {"macAddress": mac, "address": address or None, "gateway": gateway or None}


@app.command(epilog="Example: naos recovery delete shop --yes")
def delete(
    context: typer.Context, *, name: PlanName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete a plan; its machines and their copies stay as they are."""
    with connect(context) as api:
        plan = find(api, PLAN, name)
        options.confirm(f"Delete recovery plan {plan['name']}?", yes=yes)
        activity = api.write("DELETE", f"{PLAN.path}/{plan['id']}")
        options.deleted(api, activity, f"recovery plan {plan['name']}", no_wait=no_wait, as_json=as_json)


# ------------------------------------------------------------------------------------------------------------------ runs


@app.command(epilog="Example: naos recovery explain shop --kind unplanned")
def explain(
    context: typer.Context,
    *,
    name: PlanName,
    kind: Annotated[RunKind, typer.Option(help="Of which kind of run.")] = RunKind.PLANNED,
    as_json: AsJson = False,
) -> None:
    """Tell what a test or a failover would do, step by step, and what is in its way. Nothing happens."""
    with connect(context) as api:
        path = f"{PLAN.path}/{find_id(api, PLAN, name)}/explain"
        recovery_replica.show_explanation(api.get(path, kind=kind.value), as_json=as_json)


@app.command("test", epilog="Example: naos recovery test shop")
def try_out(
    context: typer.Context,
    *,
    name: PlanName,
    hold: Annotated[int, typer.Option(min=0, help="Seconds for which the machines stay up.")] = 0,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Bring copies of the machines up on a network of their own, see them live, remove them. Replication goes on."""
    with connect(context) as api:
        path = f"{PLAN.path}/{find_id(api, PLAN, name)}/test"
        show_report(api, api.write("POST", path, {"hold": hold}), no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos recovery failover shop --unplanned --yes")
def failover(
    context: typer.Context,
    *,
    name: PlanName,
    unplanned: Annotated[
        bool, typer.Option("--unplanned", help="The old zone is lost: use the last complete points.")
    ] = False,
    source_is_down: Annotated[
        bool,
        typer.Option("--source-is-down", help="On your word the old zone is off, where that cannot be found out."),
    ] = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Bring the machines up in the other zone. Without --unplanned they are shut down first, and nothing is lost."""
    with connect(context) as api:
        plan = find(api, PLAN, name)
        words = "now, from the last points" if unplanned else "without loss; they are shut down first"
        options.confirm(
            f"Bring {len(plan['machines'])} machine(s) up in {plan['hostCluster']['name']} {words}?", yes=yes
        )
        body = {"kind": "unplanned" if unplanned else "planned", "sourceIsDown": source_is_down}
        activity = api.write("POST", f"{PLAN.path}/{plan['id']}/failover", body)
        show_report(api, activity, no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos recovery failback shop --yes")
def failback(
    context: typer.Context, *, name: PlanName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Bring the machines of a reversed plan back to where they came from, without loss."""
    with connect(context) as api:
        plan = find(api, PLAN, name)
        options.confirm(f"Shut {len(plan['machines'])} machine(s) down and bring them back?", yes=yes)
        activity = api.write("POST", f"{PLAN.path}/{plan['id']}/failover", {"kind": "failback"})
        show_report(api, activity, no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos recovery reverse shop")
def reverse(context: typer.Context, *, name: PlanName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """After a failover: replicate the machines back to where they came from."""
    with connect(context) as api:
        path = f"{PLAN.path}/{find_id(api, PLAN, name)}"
        if waiting.finish(api, api.write("POST", f"{path}/reverse"), no_wait=no_wait, as_json=as_json) is not None:
            _show(api.get(path), as_json=as_json)


@app.command(epilog="Example: naos recovery discard shop --yes")
def discard(
    context: typer.Context, *, name: PlanName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete the disks that failovers left on old volumes."""
    with connect(context) as api:
        plan = find(api, PLAN, name)
        options.confirm(f"Delete {plan['remnants']} disk(s) that were left behind?", yes=yes)
        path = f"{PLAN.path}/{plan['id']}"
        if waiting.finish(api, api.write("POST", f"{path}/discard"), no_wait=no_wait, as_json=as_json) is not None:
            _show(api.get(path), as_json=as_json)


@app.command(epilog="Example: naos recovery runs")
def runs(
    context: typer.Context,
    *,
    plan: Annotated[
        str | None, typer.Option(help="Only those of a plan.", autocompletion=completes(PLAN), show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List tests and failovers, the latest first."""
    with connect(context) as api:
        found = api.get(RUNS, subjectId=None if plan is None else find_id(api, PLAN, plan))
    show_list(found, RUN_LIST, as_json=as_json, as_csv=as_csv, empty="Nothing was tested or failed over yet.")


@app.command(epilog="Example: naos recovery report 5f0c1b0e-6f0a-4a57-9a3c-1d2f3b4c5d6e")
def report(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show the signed report of a run, or how far it is. Exit code 1 for a report that was changed since."""
    with connect(context) as api:
        found: Json = api.get(f"{RUNS}/{run}")
    if as_json:
        json_out(found)
    else:
        recovery_replica.show_run(found)
    if found["report"] is not None and not found["genuine"]:
        raise Failure("The report is not as it was signed.")
    if found["report"] is None:
        note("It goes on.")
