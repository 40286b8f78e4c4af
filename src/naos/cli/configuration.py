"""`naos vm set` and `naos vm customise`: what a machine is set to, and what its guest takes in."""

import ipaddress
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from naos.cli import options, waiting
from naos.cli.client import Api, Json, connect
from naos.cli.naming import MACHINE, find
from naos.cli.options import AsJson, MachineName, NoWait
from naos.cli.output import field, gib, note, show_object

SHOW = (
    field("NAME", "name"),
    field("STATE", "powerState"),
    field("CPUS", "cpu"),
    field("CORES PER SOCKET", "numCoresPerSocket"),
    field("MEMORY", "memory", show=gib),
    field("RESERVED", "memoryReservation", show=gib),
    field("CPU HOT ADD", "cpuHotAddEnabled"),
    field("CPU HOT REMOVE", "cpuHotRemoveEnabled"),
    field("MEMORY HOT ADD", "memoryHotAddEnabled"),
    field("GUEST", "operatingSystem", "name"),
    field("TOOLS", "tools"),
    field("FIRMWARE", "bootOptions", "firmware"),
    field("SECURE BOOT", "bootOptions", "efiSecureBootEnabled"),
    field("BOOT DELAY (MS)", "bootOptions", "bootDelay"),
    field("NESTED", "exposeHardwareVirtualization"),
)
FLAGS = ("true", "false")


def change_settings(
    context: typer.Context,
    *,
    name: MachineName,
    cpus: Annotated[int | None, typer.Option(min=1, help="Virtual processors.", show_default=False)] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores of each socket.", show_default=False)] = None,
    memory: Annotated[
        int | None,
        typer.Option(metavar="SIZE", parser=options.size, help=f"Memory: {options.SIZE_HELP}", show_default=False),
    ] = None,
    reserve: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE", parser=options.size, help="Memory to reserve, at most its own.", show_default=False
        ),
    ] = None,
    cpu_hot_add: Annotated[
        bool | None, typer.Option("--cpu-hot-add/--no-cpu-hot-add", help="Let it take more processors while it runs.")
    ] = None,
    cpu_hot_remove: Annotated[
        bool | None,
        typer.Option("--cpu-hot-remove/--no-cpu-hot-remove", help="Let its guest give processors back while it runs."),
    ] = None,
    memory_hot_add: Annotated[
        bool | None, typer.Option("--memory-hot-add/--no-memory-hot-add", help="Let it take more memory while it runs.")
    ] = None,
    firmware: Annotated[str | None, typer.Option(metavar="bios|efi", help="Its firmware.", show_default=False)] = None,
    secure_boot: Annotated[
        bool | None, typer.Option("--secure-boot/--no-secure-boot", help="EFI that starts only what is signed.")
    ] = None,
    boot_delay: Annotated[
        int | None, typer.Option(min=0, metavar="MS", help="Milliseconds of the boot menu.", show_default=False)
    ] = None,
    boot_retry: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="MS", help="Start over after so long without a system; 0: never.", show_default=False
        ),
    ] = None,
    setup: Annotated[
        bool | None, typer.Option("--setup/--no-setup", help="Start into the setup of its EFI firmware.")
    ] = None,
    nested: Annotated[
        bool | None, typer.Option("--nested/--no-nested", help="Show it the processor's own virtualisation.")
    ] = None,
    guest: Annotated[
        str | None, typer.Option(metavar="MOREF", help="What its guest is, e.g. debian12_64Guest.", show_default=False)
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A key of its extra configuration; an empty VALUE takes it away."),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Change what a machine is set to. What a running machine cannot take is refused with what to do."""
    boot: Json = {
        "bootDelay": boot_delay,
        "bootRetryDelay": boot_retry or None,
        "bootRetryEnabled": None if boot_retry is None else boot_retry > 0,
        "enterBIOSSetup": setup,
        "firmware": firmware,
        "efiSecureBootEnabled": secure_boot,
    }
    sizes: Json = {
        "cpu": cpus,
        "corePerSocket": cores,
        "ram": memory,
        "memoryReservation": reserve,
        "hotCpuAdd": cpu_hot_add,
        "hotCpuRemove": cpu_hot_remove,
        "hotMemAdd": memory_hot_add,
        "bootOptions": _given(boot) or None,
        "exposeHardwareVirtualization": nested,
    }
    config = _pairs(extra or [])
    if not _given(sizes) and guest is None and not config:
        raise typer.BadParameter("say what is to change, for example --cpus 4", param_hint="--cpus")
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        writes: list[tuple[str, str, Json]] = []
        if _given(sizes):
            writes.append(("PATCH", MACHINE.path, {"id": machine["id"], **_given(sizes)}))
        own = f"{MACHINE.path}/{machine['id']}"
        if guest is not None:
            writes.append(("PATCH", f"{own}/guest", {"guestOperatingSystemMoref": guest}))
        if config:
            writes.append(("PATCH", f"{own}/extra_config", config))
        _do(api, machine, writes, no_wait=no_wait, as_json=as_json, said=f"Set {machine['name']}.")


def _given(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}


def _pairs(texts: Sequence[str]) -> Json:
    """``disk.enableUUID=true`` and ``guestinfo.userdata=...`` as the API wants them: truths and numbers where keys hold such."""
    found: Json = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE, such as disk.enableUUID=true", param_hint="--extra")
        found[key.strip()] = _typed(key, value)
    return found


def _typed(key: str, value: str) -> Any:
    if key.strip().lower().startswith("guestinfo."):
        return value
    if value.lower() in FLAGS:
        return value.lower() == "true"
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value


def _do(
    api: Api, machine: Json, writes: Sequence[tuple[str, str, Json]], *, no_wait: bool, as_json: bool, said: str
) -> None:
    """One write after the other; only the last may be left to run."""
    for method, path, body in writes[:-1]:
        waiting.follow(api, api.write(method, path, body))
    method, path, body = writes[-1]
    if waiting.finish(api, api.write(method, path, body), no_wait=no_wait, as_json=as_json) is None:
        return
    note(said)
    show_object(api.get(f"{MACHINE.path}/{machine['id']}"), SHOW, as_json=as_json)


def customise(
    context: typer.Context,
    *,
    name: MachineName,
    hostname: Annotated[str, typer.Option(help="Host name in the guest.", show_default=False)],
    domain: Annotated[str | None, typer.Option(help="Its domain.", show_default=False)] = None,
    dns: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="A name server.")] = None,
    search: Annotated[list[str] | None, typer.Option(metavar="DOMAIN", help="A domain to search names in.")] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR|dhcp", help="Address of an adapter, e.g. 10.1.0.11/24: the first goes to the first one."
        ),
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Default gateway, on the first adapter with an address.")
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Give the guest of a stopped machine another name, name servers and addresses; it takes them in at its next start."""
    network: Json = {
        "hostname": hostname,
        "domain": domain or "",
        "dnsServerList": dns or [],
        "dnsSuffixList": search or [],
        "adapters": _adapters(address or [], gateway),
    }
    with connect(context) as api:
        machine = find(api, MACHINE, name)
        path = f"{MACHINE.path}/{machine['id']}/guest/customize"
        said = f"{machine['name']} will be {hostname} at its next start."
        _do(api, machine, [("PATCH", path, {"networkConfig": network})], no_wait=no_wait, as_json=as_json, said=said)


def _adapters(addresses: Sequence[str], gateway: str | None) -> list[Json]:
    found: list[Json] = []
    for text in addresses:
        if text == "dhcp":
            found.append({})
            continue
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError:
            interface = None
        if interface is None or "/" not in text:
            raise typer.BadParameter(
                f"{text!r} is not an address with its prefix, such as 10.1.0.11/24", param_hint="--address"
            )
        adapter: Json = {"ipAddress": str(interface.ip), "subnetMask": str(interface.netmask)}
        if gateway is not None:
            adapter["gateway"], gateway = gateway, None
        found.append(adapter)
    if gateway is not None:
        raise typer.BadParameter("it needs an --address that it goes with", param_hint="--gateway")
    return found
