"""The NoCloud image of a machine: what its guest reads at first boot (host name, keys, addresses, user data)."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from naos.catalogue.images.seed import hostname_for, write_seed
from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.network.rules import mac_from
from naos.world import World

FOLDER = "/var/lib/libvirt/naos/seeds"
NOBODY = "00000000-0000-0000-0000-000000000000"


def path_on_blade(machine_id: str) -> str:
    return f"{FOLDER}/{machine_id}.iso"


def put(world: World, machine_id: str, blade: str) -> None:
    """Write the machine's seed to a blade; a machine without a template has none."""
    with world.database.read() as session:
        machine = session.get(VirtualMachine, machine_id)
    if machine is None:
        raise Unknown("virtual machine", machine_id)
    if machine.template_id is None:
        return
    host = world.rack.blade_host(blade)
    host.run(["mkdir", "-p", FOLDER])
    with tempfile.TemporaryDirectory(prefix="naos-seed-") as folder:
        image = Path(folder) / "seed.iso"
        _write(image, machine.id, machine.name, machine.seed)
        host.put(image, path_on_blade(machine_id))


def check(name: str, seed: Mapping[str, Any], addresses: Sequence[tuple[str | None, str | None]]) -> None:
    """Raises SeedRefused for what the seed of a machine to come could not hold. `addresses`: address and gateway each."""
    numbered = [
        {"mac": mac_from(number), "address": address, "gateway": gateway}
        for number, (address, gateway) in enumerate(addresses)
    ]
    with tempfile.TemporaryDirectory(prefix="naos-seed-") as folder:
        _write(Path(folder) / "seed.iso", NOBODY, name, {**seed, "addresses": numbered})


def _write(image: Path, machine_id: str, name: str, seed: Mapping[str, Any]) -> None:
    write_seed(
        image,
        instance_id=seed.get("instance_id") or machine_id,
        hostname=seed.get("hostname") or hostname_for(name),
        ssh_keys=seed.get("ssh_keys", []),
        addresses=seed.get("addresses", []),
        user_data=seed.get("user_data"),
        network_config=seed.get("network_config"),
        password=seed.get("password"),
    )


def remove(world: World, machine_id: str, blade: str) -> None:
    """Take the seed off a blade; absent is fine."""
    world.rack.blade_host(blade).run(["rm", "-f", path_on_blade(machine_id)])


def on_blade(world: World, blade: str) -> list[str]:
    """Ids of the machines whose seed lies on a blade."""
    found = world.rack.blade_host(blade).run(["ls", FOLDER], check=False)
    return [name.removesuffix(".iso") for name in found.stdout.split() if name.endswith(".iso")]
