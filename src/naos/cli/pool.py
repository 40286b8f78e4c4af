"""`naos pool`: cpools, the groups of like blades that machines run on."""

from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import BLADE, POOL, ZONE, find, find_id
from naos.cli.options import AsCsv, AsJson, NoWait, PoolName, Yes, completes
from naos.cli.output import Column, dig, field, gib, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Pools of blades (cpools).")

LIST = (
    field("NAME", "name"),
    field("ZONE", "datacenter", "name"),
    field("MODEL", "model"),
    Column("BLADES", lambda pool: len(pool.get("hosts") or []), right=True),
    field("MACHINES", "virtualMachinesNumber", right=True),
    field("MEMORY", "metrics", "totalMemory", show=gib, right=True),
    field("RESERVED", "metrics", "reservedMemory", show=gib, right=True),
    field("IN USE", "metrics", "memoryUsed", show=gib, right=True),
    field("STATUS", "status"),
    field("ID", "id"),
)


def _gigahertz(megahertz: int | None) -> str:
    return "" if megahertz is None else f"{megahertz / 1000:.1f} GHz"


SHOW = (
    *LIST[:8],
    field("PROCESSORS", "metrics", "totalCpu", show=_gigahertz),
    field("OF IT IN USE", "metrics", "cpuUsed", show=_gigahertz),
    field("VCPUS PER CORE", "vcpuRate", show=lambda rate: "any" if rate is None else f"{rate:g}"),
    field("MEMORY OVER-COMMIT", "memoryOvercommit"),
    field("AUTOMATION", "automationLevel"),
    field("BALANCE THRESHOLD", "balanceThreshold", show=lambda points: f"{points} points" if points else ""),
    Column("WARNING", lambda pool: " ".join(alarm["message"] for alarm in pool.get("triggeredAlarms") or [])),
    *LIST[8:],
)


@app.command("list", epilog="Example: naos pool list --zone par1")
def list_pools(
    context: typer.Context,
    *,
    zone: Annotated[
        str | None, typer.Option(help="Only those of a zone.", autocompletion=completes(ZONE), show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the pools."""
    with connect(context) as api:
        found = api.get(POOL.path, datacenterId=find_id(api, ZONE, zone) if zone is not None else None)
    empty = "There is no pool yet; `naos pool create --help` shows how to make one."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos pool show web")
def show(context: typer.Context, name: PoolName, as_json: AsJson = False) -> None:
    """Show a pool."""
    with connect(context) as api:
        show_object(find(api, POOL, name), SHOW, as_json=as_json)


MEMORY = (
    field("ENABLED", "memory", "allocated", show=gib),
    field("GIVEN", "memory", "reserved", show=gib),
    field("TOUCHED", "memory", "consumedByMachines", show=gib),
    field("ON THE BLADES", "memory", "consumedOnHosts", show=gib),
    Column(
        "WORST CASE", lambda found: f"{gib(found['memory']['worstCase'])} ({found['memory']['worstCasePercent']:g} %)"
    ),
    Column("WARNING IN", lambda found: _days(found["memory"])),
    Column("VCPUS", lambda found: f"{found['cpu']['vcpus']} of {found['cpu']['limit'] or 'any'}"),
    field("VCPUS PER CORE", "cpu", "rate"),
    field("PROCESSORS", "cpu", "total", show=_gigahertz),
    field("OF IT IN USE", "cpu", "used", show=_gigahertz),
)
PRESSED = (
    field("MACHINE", "virtualMachine", "name"),
    field("BLADE", "host", "name"),
    field("GIVEN", "memory", show=gib, right=True),
    field("RESIDENT", "resident", show=gib, right=True),
    field("BALLOONED", "ballooned", show=gib, right=True),
    Column("SWAPPING", lambda machine: f"{machine['swapping'] / 2**20:.1f} MiB/s", right=True),
    Column("STEAL", lambda machine: f"{machine['steal']} %", right=True),
)


def _days(memory: Json) -> str:
    """Until the warning, at this week's growth."""
    days = memory["daysUntilWarning"]
    if days == 0:
        return f"now: above {memory['warningFrom']} %"
    return f"{days:g} days, at this week's growth" if days is not None else "no growth seen"


@app.command(epilog="Example: naos pool pressure web")
def pressure(context: typer.Context, name: PoolName, as_json: AsJson = False) -> None:
    """Show how full a pool is and when it will warn, and its machines' steal, swapping and balloon."""
    with connect(context) as api:
        found: Json = api.get(f"{POOL.path}/{find(api, POOL, name)['id']}/pressure")
    show_object(found, MEMORY, as_json=as_json)
    if not as_json and found["virtualMachines"]:
        print()
        show_list(found["virtualMachines"], PRESSED)


@app.command(epilog="Example: naos pool create web --zone par1 --model 'ECO v3' --blades 2")
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new pool.", show_default=False)],
    zone: Annotated[str, typer.Option(help="Availability zone.", autocompletion=completes(ZONE))],
    model: Annotated[str, typer.Option(help="Blade model, for example `ECO v3`.")],
    blades: Annotated[int, typer.Option(min=1, help="How many blades.")],
    memory: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=options.size,
            help=f"Memory to enable in all, by default the model's least: {options.SIZE_HELP}",
            show_default=False,
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Take free blades of one model and zone into a new pool."""
    with connect(context) as api:
        body = {"name": name, "datacenterId": find_id(api, ZONE, zone), "model": model, "hosts": blades}
        if memory is not None:
            body["memory"] = memory
        ended = waiting.finish(api, api.write("POST", POOL.path, body), no_wait=no_wait, as_json=as_json)
        if ended is not None:
            pool = api.get(f"{POOL.path}/{waiting.made(ended, 'host_cluster')}")
            note(f"Created pool {name}.")
            show_object(pool, SHOW, as_json=as_json)


@app.command(epilog="Example: naos pool delete web")
def delete(
    context: typer.Context, *, name: PoolName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete a pool that no machine is in; its blades are free again."""
    with connect(context) as api:
        pool = find(api, POOL, name)
        count = len(dig(pool, "hosts") or [])
        options.confirm(f"Delete pool {pool['name']} and free its {count} blade(s)?", yes=yes)
        activity = api.write("DELETE", f"{POOL.path}/{pool['id']}")
        options.deleted(api, activity, f"pool {pool['name']}", no_wait=no_wait, as_json=as_json)


@app.command("set", epilog="Example: naos pool set web --memory 512GiB --vcpu-rate 4")
def set_pool(
    context: typer.Context,
    *,
    name: PoolName,
    memory: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=options.size,
            help=f"Memory to enable in all: {options.SIZE_HELP}",
            show_default=False,
        ),
    ] = None,
    vcpu_rate: Annotated[
        str | None, typer.Option(help="vCPUs that may run for each core of a blade, or `any`.", show_default=False)
    ] = None,
    memory_overcommit: Annotated[
        float | None,
        typer.Option(min=1, max=2, help="How many times the memory machines may be given.", show_default=False),
    ] = None,
    automation: Annotated[
        str | None,
        typer.Option(
            help="Who moves machines: `manual` (nobody), `partial` (naos, for broken affinity rules) or `full` (also for balance).",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        int | None,
        typer.Option(
            min=5, max=100, help="Percentage points between the fullest and the emptiest blade.", show_default=False
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Change what a pool has enabled, its rates and its balancing."""
    body: Json = {
        "memory": memory,
        "memoryOvercommit": memory_overcommit,
        "automationLevel": automation,
        "balanceThreshold": threshold,
    }
    body = {key: value for key, value in body.items() if value is not None}
    if vcpu_rate is not None:
        body["vcpuRate"] = _rate(vcpu_rate)
    with connect(context) as api:
        pool = find(api, POOL, name)
        activity = api.write("PATCH", f"{POOL.path}/{pool['id']}", body)
        _changed(api, pool, activity, no_wait=no_wait, as_json=as_json, said=f"Changed pool {pool['name']}.")


def _rate(text: str) -> float | None:
    if text == "any":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a rate; write for example 4 or 1.5, or any") from None


@app.command(epilog="Example: naos pool add-blade web --count 2")
def add_blade(
    context: typer.Context,
    *,
    name: PoolName,
    count: Annotated[int, typer.Option(min=1, help="How many blades.")] = 1,
    memory: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=options.size,
            help=f"Memory to enable in all afterwards, by default with what comes with the blades: {options.SIZE_HELP}",
            show_default=False,
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Take free blades of the pool's model and zone into it."""
    with connect(context) as api:
        pool = find(api, POOL, name)
        body = {"hosts": count} if memory is None else {"hosts": count, "memory": memory}
        activity = api.write("POST", f"{POOL.path}/{pool['id']}/hosts", body)
        _changed(api, pool, activity, no_wait=no_wait, as_json=as_json, said=f"{count} blade(s) joined {pool['name']}.")


@app.command(epilog="Example: naos pool remove-blade web par1-blade2")
def remove_blade(
    context: typer.Context,
    *,
    name: PoolName,
    blade: Annotated[
        str,
        typer.Argument(
            metavar="BLADE", help="Name or id of the blade.", autocompletion=completes(BLADE), show_default=False
        ),
    ],
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Take a blade on which no machine runs out of its pool."""
    with connect(context) as api:
        pool, leaving = find(api, POOL, name), find(api, BLADE, blade)
        options.confirm(f"Take blade {leaving['name']} out of pool {pool['name']}?", yes=yes)
        activity = api.write("DELETE", f"{POOL.path}/{pool['id']}/hosts/{leaving['id']}")
        said = f"{leaving['name']} has left {pool['name']}."
        _changed(api, pool, activity, no_wait=no_wait, as_json=as_json, said=said)


def _changed(api: Api, pool: Json, activity: str, *, no_wait: bool, as_json: bool, said: str) -> None:
    if waiting.finish(api, activity, no_wait=no_wait, as_json=as_json) is not None:
        note(said)
        show_object(api.get(f"{POOL.path}/{pool['id']}"), SHOW, as_json=as_json)
