"""Hosts: how commands are run on the machines of a rack."""

from pathlib import Path

from naos.engines.ports import Host
from naos.inventory.model import HostAccess


def host_for(name: str, access: HostAccess) -> Host:
    """The driver that the inventory names for a host. Raises Unsupported on a target that it cannot read."""
    if access.driver == "ssh":
        from naos.engines.hosts.ssh import SshHost

        return SshHost(name, access.target)
    from naos.engines.hosts.namespace import NamespaceHost

    return NamespaceHost(name, Path(access.target))


def address_of(access: HostAccess) -> str:
    """Where a host answers its neighbours: the address of its ssh target, or the one that the lab gave it. Raises Missing."""
    if access.driver == "ssh":
        host = access.target.rpartition("@")[2]
        return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    from naos.engines.hosts.namespace import read_machine

    return read_machine(Path(access.target)).cable.address
