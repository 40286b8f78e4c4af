"""What no host shows alone: who reaches whom, and who is somebody else as well."""

from collections.abc import Iterator, Sequence

from naos.engines.check.report import Look
from naos.inventory.model import Inventory


def judge_paths(inventory: Inventory, looks: Sequence[Look]) -> None:
    """An array that no blade of its zone reaches is at fault itself; one that some reach, those that do not."""
    own = {look.name: look for look in looks if look.kind == "array"}
    for array in inventory.arrays:
        asked = [look for look in looks if array.name in look.reaches]
        lost = [look for look in asked if not look.reaches[array.name]]
        place = f"{array.address} port {array.first_port}"
        if lost and len(lost) == len(asked):
            blades = ", ".join(look.name for look in lost)
            own[array.name].fault(
                "storage", f"No blade reaches {place} (tried from {blades}); look at its cable, address and firewall."
            )
            continue
        for look in lost:
            look.fault(
                "storage",
                f"Array {array.name} at {place} is not reached from here, and is from other blades; look at this blade's "
                "cable, routes and firewall.",
            )


def judge_twins(inventory: Inventory, looks: Sequence[Look]) -> None:
    blades = {look.name: look for look in looks if look.kind == "blade"}
    for uuid, names in _shared(
        (str(look.facts["uuid"]), name) for name, look in blades.items() if "uuid" in look.facts
    ):
        for name in names:
            blades[name].fault(
                "hypervisor",
                f"libvirt is the same machine ({uuid}) for {', '.join(names)}: mend `hypervisor` in the inventory, or, "
                "where they are two machines, give each its own host_uuid in /etc/libvirt/libvirtd.conf.",
            )
    tunnels = ((str(blade.fabric.address), blade.name) for blade in inventory.blades if blade.fabric.address)
    for address, names in _shared(tunnels):
        for name in names:
            blades[name].fault(
                "network", f"{address} is the `fabric.address` of {', '.join(names)}: each blade has its own."
            )


def _shared(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Values that several names have."""
    found: dict[str, list[str]] = {}
    for value, name in pairs:
        found.setdefault(value, []).append(name)
    yield from ((value, names) for value, names in found.items() if len(names) > 1)
