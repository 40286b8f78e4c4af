"""`naos vm`: virtual machines."""

from pathlib import Path
from typing import Annotated

import typer

from naos.cli import configuration, copying, creation, exporting, naming, options, placement, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import BLADE, MACHINE, POOL, VOLUME, find, find_id
from naos.cli.options import AsCsv, AsJson, MachineName, NoWait, Yes, completes
from naos.cli.output import field, gib, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Virtual machines.")

LIST = (
    field("NAME", "name"),
    field("STATE", "powerState"),
    field("CPUS", "cpu", right=True),
    field("MEMORY", "memory", show=gib, right=True),
    field("POOL", "hostCluster", "name"),
    field("BLADE", "host", "name"),
    field("ADDRESSES", "addresses"),
    field("ID", "id"),
)
SHOW = (
    *LIST[:4],
    field("DISKS", "storage", "committed", show=gib),
    field("POOL", "hostCluster", "name"),
    field("BLADE", "host", "name"),
    field("ZONE", "datacenter", "name"),
    field("VOLUME", "datastore", "name"),
    field("ADDRESSES", "addresses"),
    field("GUEST", "operatingSystem", "name"),
    field("TOOLS", "tools"),
    field("FIRMWARE", "bootOptions", "firmware"),
    field("STATUS", "status"),
    field("ID", "id"),
)
DISKS = (field("DISK", "name"), field("SIZE", "capacity", show=gib, right=True), field("VOLUME", "datastore", "name"))
NICS = (
    field("ADAPTER", "name"),
    field("VLAN", "network", "name"),
    field("MAC", "macAddress"),
    field("CONNECTED", "connected"),
)


@app.command("list", epilog="Example: naos vm list --pool web")
def list_machines(
    context: typer.Context,
    *,
    pool: Annotated[
        str | None, typer.Option(help="Only those of a pool.", autocompletion=completes(POOL), show_default=False)
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the machines."""
    with connect(context) as api:
        filters = {"hostClusters[]": find_id(api, POOL, pool)} if pool is not None else {}
        found = api.get(MACHINE.path, **filters)
    empty = "There is no machine yet; `naos vm create --help` shows how to make one."
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty=empty)


@app.command(epilog="Example: naos vm show web-1")
def show(context: typer.Context, name: MachineName, as_json: AsJson = False) -> None:
    """Show a machine with its disks and adapters."""
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        present(api, machine, as_json=as_json)


def present(api: Api, machine: Json, *, as_json: bool) -> None:
    """A machine, and beneath it what it is made of."""
    show_object(machine, SHOW, as_json=as_json)
    if as_json:
        return
    for kind, columns in ((naming.DISK, DISKS), (naming.NIC, NICS)):
        parts = api.get(kind.path, virtualMachineId=machine["id"])
        if parts:
            print()
            show_list(parts, columns)


@app.command(
    epilog="Example: naos vm create web-1 --template debian-12 --pool web --cpus 2 --memory 4GiB --disk 20GiB "
    "--vlan front --address 10.1.0.11/24 --ssh-key ~/.ssh/id_ed25519.pub"
)
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new machine.", show_default=False)],
    template: Annotated[
        str | None,
        typer.Option(
            help="Template to make it from; left out, it has neither disk nor adapter and stays off.",
            autocompletion=options.complete_templates,
            show_default=False,
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(help="Pool to run in; may be left out when there is one.", autocompletion=completes(POOL)),
    ] = None,
    volume: Annotated[
        str | None,
        typer.Option(
            help="Volume for its disks; may be left out when the pool's zone has one.", autocompletion=completes(VOLUME)
        ),
    ] = None,
    blade: Annotated[
        str | None,
        typer.Option(help="Blade to start on; left out, naos chooses.", autocompletion=completes(BLADE)),
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option(min=1, help="Virtual processors; left out, the template's, else 1.", show_default=False),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=options.size,
            help=f"Memory; left out, the template's, else 128MiB: {options.SIZE_HELP}",
            show_default=False,
        ),
    ] = None,
    disk: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=options.size,
            help=f"Size of its disk, at least the template's: {options.SIZE_HELP}",
        ),
    ] = None,
    vlan: Annotated[
        list[str] | None,
        typer.Option(help="VLAN of an adapter; once for each adapter.", autocompletion=completes(naming.VLAN)),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR|dhcp",
            help="Address of the guest, e.g. 10.1.0.11/24: the first goes with the first --vlan, and so on; "
            "`dhcp` (or nothing) lets the guest ask.",
        ),
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Default gateway, on the first adapter with an address.")
    ] = None,
    ssh_key: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="File of public keys that may log in.")
    ] = None,
    user_data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="cloud-init user data: a script or #cloud-config.")
    ] = None,
    network_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="cloud-init network configuration, instead of --address.")
    ] = None,
    hostname: Annotated[
        str | None, typer.Option(help="Host name in the guest; left out, one is made from NAME.")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=VLAN", help="VLAN for an adapter that the template has, by its network or name."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Value of a property that the template declares."),
    ] = None,
    start: Annotated[
        bool | None, typer.Option("--start/--no-start", help="Start it at once; done so with a template.")
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Create a machine: from a template with disk, adapters and a seed for cloud-init, or empty."""
    wish = creation.Wish(
        name=name,
        template=template,
        pool=pool,
        volume=volume,
        blade=blade,
        cpus=cpus,
        memory=memory,
        disk=disk,
        vlans=vlan or [],
        addresses=address or [],
        gateway=gateway,
        ssh_keys=ssh_key or [],
        user_data=user_data,
        network_config=network_config,
        hostname=hostname,
        start=start,
        networks=creation.pairs(network, "--network"),
        settings=creation.pairs(setting, "--set"),
    )
    creation.check(wish)
    with connect(context) as api:
        activity = creation.submit(api, wish)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Created {name}.")


def _finish(api: Api, activity_id: str, *, no_wait: bool, as_json: bool, said: str) -> None:
    """Follow a write on a machine, then show the machine as it now is."""
    ended = waiting.finish(api, activity_id, no_wait=no_wait, as_json=as_json)
    if ended is None:
        return
    machine = api.get(f"{MACHINE.path}/{waiting.made(ended, 'virtual_machine')}")
    note(said)
    present(api, machine, as_json=as_json)


def _change(context: typer.Context, name: str, change: Json, *, no_wait: bool, as_json: bool, said: str) -> None:
    """One power action on a machine, followed."""
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        activity = api.write("PATCH", f"{MACHINE.path}/power", {"id": machine["id"], **change})
        ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
        if ended is None:
            return
        note(said)
        if as_json:
            show_object(api.get(f"{MACHINE.path}/{machine['id']}"), SHOW, as_json=True)


@app.command(epilog="Example: naos vm start web-1")
def start(context: typer.Context, name: MachineName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Power a machine on."""
    _change(context, name, {"powerAction": "on"}, no_wait=no_wait, as_json=as_json, said=f"{name} runs.")


GUEST_SECONDS = typer.Option("--timeout", min=1, max=3600, help="Seconds that the guest has to shut down.")


@app.command(epilog="Example: naos vm stop web-1 --timeout 300")
def stop(
    context: typer.Context,
    *,
    name: MachineName,
    force: Annotated[bool, typer.Option("--force", help="Cut the power; the guest is not asked.")] = False,
    timeout: Annotated[int, GUEST_SECONDS] = 120,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Press a machine's power button and wait for the guest, or cut its power with --force."""
    change: Json = {"powerAction": "off"} if force else {"powerAction": "shutdown", "timeout": timeout}
    _change(context, name, change, no_wait=no_wait, as_json=as_json, said=f"{name} is off.")


@app.command(epilog="Example: naos vm restart web-1")
def restart(
    context: typer.Context,
    *,
    name: MachineName,
    timeout: Annotated[int, GUEST_SECONDS] = 120,
    as_json: AsJson = False,
) -> None:
    """Shut a machine's guest down and power it on again; `reset` does not ask the guest."""
    stopping: Json = {"powerAction": "shutdown", "timeout": timeout}
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        for change in (stopping, {"powerAction": "on"}):
            waiting.follow(api, api.write("PATCH", f"{MACHINE.path}/power", {"id": machine["id"], **change}))
        note(f"{name} runs again.")
        if as_json:
            show_object(api.get(f"{MACHINE.path}/{machine['id']}"), SHOW, as_json=True)


@app.command(epilog="Example: naos vm reset web-1")
def reset(context: typer.Context, name: MachineName, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Reset a machine as its reset button would: at once, without asking the guest."""
    _change(context, name, {"powerAction": "reset"}, no_wait=no_wait, as_json=as_json, said=f"{name} was reset.")


@app.command(epilog="Example: naos vm resize web-1 --cpus 4 --memory 8GiB")
def resize(
    context: typer.Context,
    *,
    name: MachineName,
    cpus: Annotated[int | None, typer.Option(min=1, help="Virtual processors.", show_default=False)] = None,
    memory: Annotated[
        int | None,
        typer.Option(metavar="SIZE", parser=options.size, help=f"Memory: {options.SIZE_HELP}", show_default=False),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give a machine another number of processors or another memory; its disks grow with `naos disk grow`."""
    if cpus is None and memory is None:
        raise typer.BadParameter("say what is to change: --cpus, --memory or both", param_hint="--cpus")
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        change = {"id": machine["id"], "cpu": cpus or 0, "ram": memory or 0}
        activity = api.write("PATCH", MACHINE.path, change)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"Resized {name}.")


app.command("set", epilog="Example: naos vm set web-1 --memory-hot-add --boot-delay 5000 --extra disk.enableUUID=true")(
    configuration.change_settings
)
app.command(epilog="Example: naos vm customise web-1 --hostname front-1 --address 10.1.0.12/24 --dns 10.1.0.1")(
    configuration.customise
)


@app.command(epilog="Example: naos vm rename web-1 front-1")
def rename(
    context: typer.Context,
    *,
    name: MachineName,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name that it shall have.", show_default=False)],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give a machine another name; its guest does not notice."""
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        activity = api.write("PATCH", f"{MACHINE.path}/rename", {"id": machine["id"], "name": new})
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"{name} is {new} now.")


@app.command(epilog="Example: naos vm migrate web-1 --to par1-blade2")
def migrate(
    context: typer.Context,
    *,
    name: MachineName,
    to: Annotated[
        str, typer.Option(metavar="BLADE", help="Blade of its pool to move to.", autocompletion=completes(BLADE))
    ],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Move a machine to another blade of its pool: live when it runs."""
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        blade = find(api, BLADE, to)
        body = {"virtualMachines": [machine["id"]], "hostId": blade["id"]}
        activity = api.write("POST", f"{MACHINE.path}/relocate", body)
        _finish(api, activity, no_wait=no_wait, as_json=as_json, said=f"{name} is on {blade['name']} now.")


app.command("check-migration", epilog="Example: naos vm check-migration web-1 --to par1-blade2")(
    placement.check_migration
)
app.command(epilog="Example: naos vm clone web-1 web-2 --start")(copying.clone)
app.command(epilog="Example: naos vm move web-1 --volume fast")(copying.move)


@app.command(epilog="Example: naos vm console web-1 (Ctrl-] leaves)")
def console(context: typer.Context, name: MachineName) -> None:
    """Use a machine's serial console in this terminal. Ctrl-] leaves; a second client takes the line over."""
    from naos.cli.console import attach

    with connect(context) as api:
        machine = find(api, MACHINE, name)
        attach(api, machine["id"], machine["name"])


@app.command(epilog="Example: naos vm log web-1 --last 2000")
def log(
    context: typer.Context,
    *,
    name: MachineName,
    last: Annotated[int, typer.Option(min=1, max=2**20, help="Bytes from the end.")] = 65_536,
) -> None:
    """Print what a running machine has said on its serial console since its start."""
    import sys

    from naos.cli.output import plain

    with connect(context) as api:
        machine = find(api, MACHINE, name)
        said = api.text(f"{MACHINE.path}/{machine['id']}/consoles/log", last=last)
    if sys.stdout.isatty():  # a guest's control characters are for a console, not for this screen
        said = "\n".join(plain(line.rstrip("\r")) for line in said.split("\n"))
    sys.stdout.write(said if said.endswith("\n") or not said else said + "\n")


app.command("export", epilog="Example: naos vm export web-1 --output web-1.ova")(exporting.export_machine)


@app.command(epilog="Example: naos vm delete web-1")
def delete(
    context: typer.Context, *, name: MachineName, yes: Yes = False, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete a stopped machine with its disks and adapters. Nothing brings them back."""
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        lost = f"{gib(machine['storage']['committed'])} of disks" if machine["storage"]["committed"] else "no disk"
        options.confirm(f"Delete {machine['name']} ({machine['id']}) with {lost}?", yes=yes)
        activity = api.write("DELETE", f"{MACHINE.path}/{machine['id']}")
        options.deleted(api, activity, machine["name"], no_wait=no_wait, as_json=as_json)
