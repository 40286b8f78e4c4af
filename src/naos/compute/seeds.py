"""What lies on a blade for a machine's guest to read: the NoCloud image (host name, keys, addresses, user data), and files that its
firmware shows it."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.catalogue.images.seed import hostname_for, write_seed
from naos.catalogue.ovf import environment
from naos.compute import extra_config, guest_seed, media
from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.network.models import Adapter, Vlan
from naos.network.rules import mac_from
from naos.world import World

FOLDER = "/var/lib/libvirt/naos/seeds"
_IN_USE = re.compile(r"""<entry [^>]*\bfile=["']([^"']+)["']""")
"""A running machine's hypervisor looks for its files wherever the machine moves, also for those that nobody wishes any more."""
NOBODY = "00000000-0000-0000-0000-000000000000"


def path_on_blade(machine_id: str) -> str:
    return f"{FOLDER}/{machine_id}.iso"


def put(world: World, machine_id: str, blade: str) -> None:
    """Write the machine's seed to a blade, if it has one, what its firmware tells the guest, and what is in its drives."""
    media.put(world, machine_id, blade)
    with world.database.read() as session:
        machine = session.get(VirtualMachine, machine_id)
        networks = _networks(session, machine_id)
    if machine is None:
        raise Unknown("virtual machine", machine_id)
    told = {path: "" for path in _IN_USE.findall(machine.definition) if path.startswith(f"{FOLDER}/{machine_id}.")}
    names = extra_config.told(machine.extra_config, firmware=machine.firmware)
    told |= {told_on_blade(machine_id, name): content for name, content in names.items()}
    if not told and not guest_seed.is_needed(machine):
        return
    host = world.rack.blade_host(blade)
    host.run(["mkdir", "-p", FOLDER])
    with tempfile.TemporaryDirectory(prefix="naos-seed-") as folder:
        for path, content in told.items():
            source = Path(folder) / "told"
            source.write_text(content, encoding="utf-8")
            source.chmod(0o600)  # user data often holds secrets
            host.put(source, path)
        if guest_seed.is_needed(machine):
            image = Path(folder) / "seed.iso"
            said = guest_seed.effective(machine.id, machine.seed, machine.extra_config)
            _write(image, machine.id, machine.name, said, networks)
            host.put(image, path_on_blade(machine_id))


def told_on_blade(machine_id: str, name: str) -> str:
    """Where a file lies that the firmware shows the guest as `name`."""
    return f"{FOLDER}/{machine_id}.{name.rpartition('/')[2]}"


def told_of(machine: VirtualMachine) -> list[tuple[str, str]]:
    """Names and files of what the firmware tells the machine's guest."""
    names = extra_config.told(machine.extra_config, firmware=machine.firmware)
    return [(name, told_on_blade(machine.id, name)) for name in sorted(names)]


def check_effective(machine: VirtualMachine, seed: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raises SeedRefused for what the seed of a machine could not hold."""
    with tempfile.TemporaryDirectory(prefix="naos-seed-") as folder:
        said = guest_seed.effective(machine.id, seed, config)
        _write(Path(folder) / "seed.iso", machine.id, machine.name, said)


def check(name: str, seed: Mapping[str, Any], addresses: Sequence[tuple[str | None, str | None]]) -> None:
    """Raises SeedRefused for what the seed of a machine to come could not hold. `addresses`: address and gateway each."""
    numbered = [
        {"mac": mac_from(number), "address": address, "gateway": gateway}
        for number, (address, gateway) in enumerate(addresses)
    ]
    with tempfile.TemporaryDirectory(prefix="naos-seed-") as folder:
        _write(Path(folder) / "seed.iso", NOBODY, name, {**seed, "addresses": numbered})


def _networks(session: Session, machine_id: str) -> list[tuple[str, str]]:
    """MAC address and network's name of each adapter, in their order."""
    wanted = sa.select(Adapter.mac, Vlan.name).join(Vlan, Vlan.id == Adapter.vlan_id)
    rows = session.execute(wanted.where(Adapter.machine_id == machine_id).order_by(Adapter.unit))
    return [(mac, name) for mac, name in rows]


def _write(
    image: Path, machine_id: str, name: str, seed: Mapping[str, Any], networks: Sequence[tuple[str, str]] = ()
) -> None:
    values = seed.get("properties")
    write_seed(
        image,
        instance_id=seed.get("instance_id") or machine_id,
        hostname=seed.get("hostname") or hostname_for(name),
        ssh_keys=seed.get("ssh_keys", []),
        addresses=seed.get("addresses", []),
        user_data=seed.get("user_data"),
        network_config=seed.get("network_config"),
        password=seed.get("password"),
        seedfrom=seed.get("seedfrom"),
        environment=environment.document(machine_id, values, networks) if values is not None else None,
    )


def remove(world: World, machine_id: str, blade: str) -> None:
    """Take all of it off a blade; absent is fine."""
    media.remove(world, machine_id, blade)
    paths = [f"{FOLDER}/{name}" for name in _names(world, blade) if name.startswith(f"{machine_id}.")]
    if paths:
        world.rack.blade_host(blade).run(["rm", "-f", *paths])


def on_blade(world: World, blade: str) -> list[str]:
    """Ids of the machines of which something lies on a blade."""
    return sorted({name.partition(".")[0] for name in _names(world, blade)})


def _names(world: World, blade: str) -> list[str]:
    return world.rack.blade_host(blade).run(["ls", FOLDER], check=False).stdout.split()
