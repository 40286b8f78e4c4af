"""What a guest has of hardware, as far as its memory depends on it. It goes on only with what it had."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute import guest_seed, media, seeds
from naos.compute.models import MachineProcessor, VirtualMachine
from naos.engines.ports import NbdAddress
from naos.network import adapters
from naos.storage import controllers, disks
from naos.units import size_text

_ANYWHERE = NbdAddress("", 0, "")
_THINGS = (("disks", "disk"), ("adapters", "adapter"), ("controllers", "controller"), ("drives", "CD/DVD drive"))


def read(session: Session, machine: VirtualMachine) -> dict[str, Any]:
    """As JSON. features: of the processor that the guest was shown at its latest start, none where that is not known."""
    shown = session.scalar(sa.select(MachineProcessor).where(MachineProcessor.machine_id == machine.id))
    seen = [controllers.as_seen(session, disk, _ANYWHERE) for disk in disks.of_machine(session, machine.id)]
    cards = adapters.of_machine(session, machine.id)
    devices = controllers.domain_controllers(session, machine.id)
    return {
        "vcpus": machine.cpu,
        "cores": machine.cores_per_socket,
        "memory": machine.memory,
        "firmware": machine.firmware + (" with secure boot" if machine.secure_boot else ""),
        "seed": guest_seed.is_needed(machine),
        "told": [name for name, _ in seeds.told_of(machine)],
        "disks": {disk.id: [disk.unit, disk.bus, disk.controller, disk.slot] for disk in seen},
        "adapters": {card.id: [card.mac_key, card.type] for card in cards},
        "controllers": {entry.id: [entry.kind, entry.model, entry.index] for entry in devices},
        "drives": {drive.id: [drive.bus, drive.place] for drive in media.drives(session, machine.id)},
        "features": sorted(shown.features) if shown is not None else [],
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is another now, in words; none: it can go on. The processor is its blade's matter."""
    found = []
    for key, word in (("vcpus", "vCPUs"), ("cores", "cores per socket")):
        if before[key] != now[key]:
            found.append(f"{now[key]} {word} instead of {before[key]}")
    if before["memory"] != now["memory"]:
        found.append(f"{size_text(now['memory'])} of memory instead of {size_text(before['memory'])}")
    if before["firmware"] != now["firmware"]:
        found.append(f"firmware {now['firmware']} instead of {before['firmware']}")
    if before["seed"] != now["seed"]:
        found.append("the drive of its seed was " + ("added" if now["seed"] else "removed"))
    if before["told"] != now["told"]:
        found.append("its firmware tells the guest something else")
    for key, word in _THINGS:
        old, new = before[key], now[key]
        found += [f"{word} {item} was added" for item in sorted(new.keys() - old.keys())]
        found += [f"{word} {item} was removed" for item in sorted(old.keys() - new.keys())]
        found += [f"{word} {item} was changed" for item in sorted(old.keys() & new.keys()) if old[item] != new[item]]
    return found
