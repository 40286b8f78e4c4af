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
