"""What `naos vm create` asks for, and how it becomes a request."""

import base64
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

import typer

from naos.cli import naming
from naos.cli.client import Api, Json
from naos.cli.naming import BLADE, MACHINE, POOL, VLAN, VOLUME, find, find_id
from naos.cli.options import read_text
from naos.units import MIB

DHCP = "dhcp"
DEFAULTS = {"cpu": 1, "memory": 128 * MIB}
"""Of a machine without a template."""


@dataclass(frozen=True)
class Wish:
    """A machine to make. Sizes in bytes; the nth address belongs to the nth VLAN. cpus, memory None: what the template says.

    networks: VLANs by the networks or adapters of the template. settings: values by the template's properties.
    """

    name: str
    template: str | None
    pool: str | None
    volume: str | None
    blade: str | None
    cpus: int | None
    memory: int | None
    disk: int | None
    vlans: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    gateway: str | None = None
    ssh_keys: list[Path] = field(default_factory=list)
    user_data: Path | None = None
    network_config: Path | None = None
    hostname: str | None = None
    start: bool | None = None
    networks: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """``KEY=VALUE`` each, once for each key. Raises a usage error."""
    found: dict[str, str] = {}
    for text in given or []:
        key, sign, value = text.partition("=")
        if not sign or not key or key in found:
            reason = f"{key!r} is given twice" if key in found else f"{text!r} is no KEY=VALUE"
            raise typer.BadParameter(reason, param_hint=option)
        found[key] = value
    return found


def check(wish: Wish) -> None:
    """What can be told without the API. Raises a usage error."""
    if wish.template is None:
        given = {
            "--disk": wish.disk,
            "--vlan": wish.vlans,
            "--address": wish.addresses,
            "--ssh-key": wish.ssh_keys,
            "--user-data": wish.user_data,
            "--network-config": wish.network_config,
            "--hostname": wish.hostname,
            "--start": wish.start,
            "--network": wish.networks,
            "--set": wish.settings,
        }
        for option, value in given.items():
            if value:
                raise typer.BadParameter(
                    "it needs --template; an empty machine is filled by `naos disk add` and `naos nic add`",
                    param_hint=option,
                )
    if wish.vlans and wish.networks:
        raise typer.BadParameter(
            "it maps the adapters that the template has; --vlan takes their place", param_hint="--network"
        )
    if len(wish.addresses) > len(wish.vlans):
        raise typer.BadParameter(
            f"{len(wish.addresses)} addresses for {len(wish.vlans)} adapters; give a --vlan for each",
            param_hint="--address",
        )
    for address in wish.addresses:
        _check_address(address)
    if wish.gateway is not None and all(address == DHCP for address in wish.addresses):
        raise typer.BadParameter("it needs an --address that it goes with", param_hint="--gateway")


def _check_address(address: str) -> None:
    if address == DHCP:
        return
    try:
        ipaddress.ip_interface(address)
    except ValueError:
        address_valid = False
    else:
        address_valid = "/" in address
    if not address_valid:
        raise typer.BadParameter(
            f"{address!r} is not an address with its prefix, such as 10.1.0.11/24", param_hint="--address"
        )


def submit(api: Api, wish: Wish) -> str:
    """Ask for the machine; the id of the activity. Raises Failure when a name names nothing."""
    pool = find(api, POOL, wish.pool) if wish.pool is not None else naming.only(api, POOL, "--pool")
    zone = pool["datacenter"]["id"]
    named = wish.volume is not None
    volume = find(api, VOLUME, wish.volume or "") if named else naming.only(api, VOLUME, "--volume", datacenterId=zone)
    body: Json = {
        "name": wish.name,
        "hostClusterId": pool["id"],
        "datastoreId": volume["id"],
    }
    if wish.blade is not None:
        body["hostId"] = find_id(api, BLADE, wish.blade, hostClusterId=pool["id"])
    sizes = {"cpu": wish.cpus, "memory": wish.memory}
    if wish.template is None:
        body |= {key: size if size is not None else DEFAULTS[key] for key, size in sizes.items()}
        return api.write("POST", MACHINE.path, body)
    body |= {key: size for key, size in sizes.items() if size is not None}
    template = naming.find_template(api, wish.template)
    body |= {
        "contentLibraryItemId": template["id"],
        "powerOn": wish.start is not False,
        "deployOptions": _options(wish),
    }
    if wish.vlans or not template["networkAdapters"]:
        body["networkAdapters"] = _adapters(api, wish)
    elif wish.networks:
        body["networkData"] = [
            {"networkAdapterId": source, "networkId": find_id(api, VLAN, vlan)}
            for source, vlan in wish.networks.items()
        ]
    if wish.disk is not None:
        body["diskCapacity"] = wish.disk
    return api.write("POST", f"{naming.LIBRARY.path}/{template['library']['id']}/items", body)


def _adapters(api: Api, wish: Wish) -> list[Json]:
    adapters: list[Json] = []
    gateway = wish.gateway
    for position, vlan in enumerate(wish.vlans):
        adapter: Json = {"networkId": find_id(api, VLAN, vlan)}
        if position < len(wish.addresses) and wish.addresses[position] != DHCP:
            adapter["address"] = wish.addresses[position]
            if gateway is not None:
                adapter["gateway"], gateway = gateway, None
        adapters.append(adapter)
    return adapters


def _options(wish: Wish) -> list[Json]:
    """The template's properties, and cloud-init's part; texts travel as base64."""
    found: list[Json] = [{"id": key, "value": value} for key, value in wish.settings.items()]
    if wish.hostname is not None:
        found.append({"id": "hostname", "value": wish.hostname})
    if wish.ssh_keys:
        found.append({"id": "public-keys", "value": "\n".join(public_key(path) for path in wish.ssh_keys)})
    for name, path in (("user-data", wish.user_data), ("network-config", wish.network_config)):
        if path is not None:
            content = read_text(path, f"cloud-init's {name}").encode()
            found.append({"id": name, "value": base64.b64encode(content).decode("ascii")})
    return found


def public_key(path: Path) -> str:
    """The public keys of a file. Raises a usage error, above all for a private key, which must stay on this machine."""
    content = read_text(path.expanduser(), "a public key", limit=2**16).strip()
    if "PRIVATE KEY" in content:
        raise typer.BadParameter(f"{path} is a private key; its public half is {path}.pub", param_hint="--ssh-key")
    lines = [line.strip() for line in content.splitlines() if line.strip() and not line.startswith("#")]
    if not lines or any(not line.startswith(("ssh-", "ecdsa-", "sk-")) for line in lines):
        raise typer.BadParameter(
            f"{path} holds no OpenSSH public key (a line such as `ssh-ed25519 AAAA...`)", param_hint="--ssh-key"
        )
    return "\n".join(lines)
