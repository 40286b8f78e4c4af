"""The configuration of a lab blade's libvirt: reachable from the lab without a password, and nothing of the machine's own."""

from pathlib import Path

from naos.engines.hosts.files import write_whole
from naos.engines.hosts.namespace import Machine

PORT = 16509

_DAEMON = """\
listen_tls = 0
listen_tcp = 1
listen_addr = "{address}"
tcp_port = "{port}"
auth_tcp = "none"
auth_unix_rw = "none"
host_uuid = "{id}"
max_clients = 200
"""

# No cgroups, no security driver, no namespace of QEMU's own: a blade of the lab shares its kernel with the others.
_QEMU = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
dynamic_ownership = 0
stdio_handler = "file"
vnc_listen = "{address}"
migration_address = "{address}"
migration_host = "{address}"
"""


def prepare(folder: Path, machine: Machine) -> list[str]:
    """Write the files; returns the command that runs libvirt inside the host."""
    place = folder / "etc/libvirt"
    address = machine.cable.address
    write_whole(place / "libvirtd.conf", _DAEMON.format(address=address, port=PORT, id=machine.id))
    write_whole(place / "qemu.conf", _QEMU.format(address=address))
    return ["libvirtd", "--listen", "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", "/run/libvirtd.pid"]
