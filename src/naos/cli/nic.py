"""`naos nic`: the network adapters of machines."""

from enum import StrEnum
from typing import Annotated

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import MACHINE, NIC, VLAN, find, find_id
from naos.cli.options import AsCsv, AsJson, MachineName, NicName, NoWait, Yes, completes
from naos.cli.output import field, note, show_list, show_object

app = typer.Typer(no_args_is_help=True, help="Network adapters of machines.")

LIST = (
    field("NAME", "name"),
    field("VLAN", "network", "name"),
    field("TYPE", "type"),
    field("MAC", "macAddress"),
    field("CONNECTED", "connected"),
    field("AT START", "autoConnect"),
    field("MACHINE ID", "virtualMachineId"),
    field("ID", "id"),
)


class Type(StrEnum):
    """What adapters there are, in the API's words."""

    VMXNET3 = "VMXNET3"
    E1000 = "E1000"
    E1000E = "E1000E"


OF_MACHINE = typer.Option("--vm", metavar="VM", help="Of which machine.", autocompletion=completes(MACHINE))


@app.command("list", epilog="Example: naos nic list --vm web-1")
def list_adapters(
    context: typer.Context,
    *,
    machine: Annotated[str | None, OF_MACHINE] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the adapters, of one machine or of all."""
    with connect(context) as api:
        found = api.get(NIC.path, virtualMachineId=_machine(api, machine))
    show_list(found, LIST, as_json=as_json, as_csv=as_csv, empty="There is no adapter.")


@app.command(epilog="Example: naos nic show 'Network adapter 1' --vm web-1")
def show(
    context: typer.Context, *, name: NicName, machine: Annotated[str | None, OF_MACHINE] = None, as_json: AsJson = False
) -> None:
    """Show an adapter."""
    with connect(context) as api:
        show_object(find(api, NIC, name, virtualMachineId=_machine(api, machine)), LIST, as_json=as_json)


@app.command(epilog="Example: naos nic add web-1 --vlan back")
def add(
    context: typer.Context,
    *,
    machine: MachineName,
    vlan: Annotated[str, typer.Option(help="VLAN to plug it into.", autocompletion=completes(VLAN))],
    mac: Annotated[str | None, typer.Option(help="MAC address; left out, one is given.", show_default=False)] = None,
    kind: Annotated[
        Type | None, typer.Option("--type", help="Left out, VMXNET3, the paravirtual one.", show_default=False)
    ] = None,
    connect_it: Annotated[bool, typer.Option("--connect/--no-connect", help="Whether to put its cable in.")] = True,
    as_json: AsJson = False,
) -> None:
    """Add an adapter to a machine and put its cable in."""
    with connect(context) as api:
        body: Json = {
            "virtualMachineId": find_id(api, MACHINE, machine),
            "networkId": find_id(api, VLAN, vlan),
        }
        if kind is not None:
            body["type"] = kind.value
        if mac is not None:
            body["macAddress"] = mac
        ended = waiting.follow(api, api.write("POST", NIC.path, body))
        adapter_id = waiting.made(ended, "network_adapter")
        if connect_it:
            _plug(api, adapter_id, "connect")
        note(f"Added an adapter to {machine}.")
        show_object(api.get(f"{NIC.path}/{adapter_id}"), LIST, as_json=as_json)


def _plug(api: Api, adapter_id: str, action: str) -> None:
    waiting.follow(api, api.write("PATCH", f"{NIC.path}/{action}", {"id": adapter_id}))


@app.command("connect", epilog="Example: naos nic connect 'Network adapter 1' --vm web-1")
def connect_adapter(
    context: typer.Context,
    *,
    name: NicName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Put an adapter's cable in."""
    _change(context, name, machine, "/connect", {}, no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos nic disconnect 'Network adapter 1' --vm web-1")
def disconnect(
    context: typer.Context,
    *,
    name: NicName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Pull an adapter's cable."""
    _change(context, name, machine, "/disconnect", {}, no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos nic change 'Network adapter 1' --vm web-1 --vlan back")
def change(
    context: typer.Context,
    *,
    name: NicName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    vlan: Annotated[
        str | None, typer.Option(help="VLAN to plug it into.", autocompletion=completes(VLAN), show_default=False)
    ] = None,
    mac: Annotated[str | None, typer.Option(help="Its new MAC address.", show_default=False)] = None,
    at_start: Annotated[
        bool | None,
        typer.Option("--at-start/--not-at-start", help="Whether its cable is in when the machine starts."),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Move an adapter to another VLAN, or change its MAC address or its cable at the start."""
    if vlan is None and mac is None and at_start is None:
        raise typer.BadParameter("say what is to change: --vlan, --mac or --at-start", param_hint="--vlan")
    wanted: Json = {"macAddress": mac, "autoConnect": at_start, "newNetworkId": vlan}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    _change(context, name, machine, "", wanted, no_wait=no_wait, as_json=as_json)


@app.command(epilog="Example: naos nic delete 'Network adapter 2' --vm web-1")
def delete(
    context: typer.Context,
    *,
    name: NicName,
    machine: Annotated[str | None, OF_MACHINE] = None,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Remove an adapter; its MAC address is free again."""
    with connect(context) as api:
        adapter = find(api, NIC, name, virtualMachineId=_machine(api, machine))
        options.confirm(f"Delete {adapter['name']} ({adapter['macAddress']})?", yes=yes)
        activity = api.write("DELETE", f"{NIC.path}/{adapter['id']}")
        options.deleted(api, activity, adapter["name"], no_wait=no_wait, as_json=as_json)


def _machine(api: Api, machine: str | None) -> str | None:
    return find_id(api, MACHINE, machine) if machine is not None else None


def _change(
    context: typer.Context,
    name: str,
    machine: str | None,
    action: str,
    wanted: Json,
    *,
    no_wait: bool,
    as_json: bool,
) -> None:
    with connect(context) as api:
        adapter = find(api, NIC, name, virtualMachineId=_machine(api, machine))
        if "newNetworkId" in wanted:
            wanted = {**wanted, "newNetworkId": find_id(api, VLAN, wanted["newNetworkId"])}
        activity = api.write("PATCH", f"{NIC.path}{action}", {"id": adapter["id"], **wanted})
        ended = waiting.finish(api, activity, no_wait=no_wait, as_json=as_json)
        if ended is not None:
            show_object(api.get(f"{NIC.path}/{adapter['id']}"), LIST, as_json=as_json)
