"""A guest's customisation: from the request to what its seed says. Pure."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naos.compute.configuration_errors import CustomisationRefused
from naos.names import listing

NO_WINDOWS = (
    "naos does not run Windows' own preparation (sysprep); leave windowsConfig out, and give a Windows guest with cloudbase-init "
    "its user data by the extra configuration guestinfo.userdata"
)


@dataclass(frozen=True)
class AdapterSetting:
    """One adapter; without a MAC it is the next one in order. Without an address the guest asks DHCP."""

    mac: str | None = None
    address: str | None = None
    netmask: str | None = None
    gateway: str | None = None


@dataclass(frozen=True)
class Customisation:
    hostname: str
    domain: str = ""
    dns_servers: Sequence[str] = ()
    dns_suffixes: Sequence[str] = ()
    adapters: Sequence[AdapterSetting] = ()


def seed_of(machine: str, wish: Customisation, macs: Sequence[str]) -> dict[str, Any]:
    """The seed's fields: hostname, addresses, dns. `macs`: of the machine's adapters, in their order.

    Raises CustomisationRefused.
    """
    addresses = _addresses(machine, wish.adapters, macs)
    for server in wish.dns_servers:
        _address(machine, "DNS server", server)
    return {
        "hostname": f"{wish.hostname}.{wish.domain}" if wish.domain else wish.hostname,
        "dns": {
            "addresses": list(wish.dns_servers),
            "search": list(wish.dns_suffixes) or [wish.domain] * bool(wish.domain),
        },
        **({"addresses": addresses} if wish.adapters else {}),
    }


def _addresses(machine: str, wanted: Sequence[AdapterSetting], macs: Sequence[str]) -> list[dict[str, Any]]:
    known = {mac.lower(): mac for mac in macs}
    has = f"it has {listing(macs)}" if macs else "it has none"
    if len(wanted) > len(macs):
        raise CustomisationRefused(
            machine, f"it is about {len(wanted)} adapters, and the machine has {len(macs)}; {has}"
        )
    named = [entry.mac.replace("-", ":").lower() for entry in wanted if entry.mac]
    for mac in named:
        if mac not in known:
            raise CustomisationRefused(machine, f"no adapter of the machine has the MAC address {mac}; {has}")
        if named.count(mac) > 1:
            raise CustomisationRefused(machine, f"the adapter {mac} is given twice")
    free = [mac for mac in known if mac not in named]
    chosen = {}
    for entry in wanted:
        mac = entry.mac.replace("-", ":").lower() if entry.mac else free.pop(0)
        chosen[mac] = _setting(machine, entry)
    return [{"mac": known[mac], **chosen.get(mac, {"address": None, "gateway": None})} for mac in known]


def _setting(machine: str, entry: AdapterSetting) -> dict[str, str | None]:
    if not entry.address:
        if entry.netmask or entry.gateway:
            raise CustomisationRefused(machine, "a subnet mask or a gateway needs an ipAddress")
        return {"address": None, "gateway": None}
    if not entry.netmask:
        raise CustomisationRefused(machine, f"the address {entry.address} needs a subnetMask")
    _address(machine, "address", entry.address)
    try:
        interface = ipaddress.ip_interface(f"{entry.address}/{entry.netmask.lstrip('/')}")
    except ValueError:
        raise CustomisationRefused(machine, f"{entry.netmask} is no subnet mask such as 255.255.255.0") from None
    if entry.gateway:
        _address(machine, "gateway", entry.gateway)
    return {"address": interface.with_prefixlen, "gateway": entry.gateway or None}


def _address(machine: str, what: str, text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise CustomisationRefused(machine, f"{text} is no address of a {what}") from None


def network_config(addresses: Sequence[Mapping[str, Any]], dns: Mapping[str, Any]) -> dict[str, Any] | None:
    """A network configuration (version 2) of addresses and name servers; None when there is no adapter."""
    ethernets: dict[str, Any] = {}
    for number, entry in enumerate(addresses):
        mac = str(entry["mac"]).lower()
        adapter: dict[str, Any] = {"match": {"macaddress": mac}, "set-name": f"eth{number}"}
        if entry.get("address"):
            adapter |= {"dhcp4": False, "addresses": [entry["address"]]}
        else:
            adapter["dhcp4"] = True
        if entry.get("gateway"):
            adapter["routes"] = [_route(str(entry["address"]), str(entry["gateway"]))]
        if dns.get("addresses") or dns.get("search"):
            adapter["nameservers"] = {key: list(dns.get(key, [])) for key in ("addresses", "search") if dns.get(key)}
        ethernets[f"eth{number}"] = adapter
    return {"version": 2, "ethernets": ethernets} if ethernets else None


def _route(address: str, gateway: str) -> dict[str, Any]:
    via = ipaddress.ip_address(gateway)
    route: dict[str, Any] = {"to": "0.0.0.0/0" if via.version == 4 else "::/0", "via": gateway}
    if via not in ipaddress.ip_interface(address).network:
        route["on-link"] = True
    return route
