"""Backup sites: the zones that have a vault, the server that stands for each, and the vaults' space."""

import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.engines.errors import EngineError
from naos.fleet.models import Zone
from naos.fleet.places import stable_id
from naos.inventory.model import Inventory, Vault
from naos.protection.errors import SiteUnknown
from naos.protection.models import VaultSample
from naos.world import World

_SPACE = re.compile(r"^(\d+) (\d+) (\d+)$")


def sites(session: Session, inventory: Inventory) -> list[Zone]:
    """The zones that have a vault, by name."""
    names = sorted({vault.zone for vault in inventory.vaults})
    return list(session.scalars(sa.select(Zone).where(Zone.name.in_(names)).order_by(Zone.name, Zone.id)))


def find_site(session: Session, inventory: Inventory, reference: str) -> Zone:
    """A site by its id or name. Raises SiteUnknown."""
    known = sites(session, inventory)
    for zone in known:
        if reference in (zone.id, zone.name):
            return zone
    raise SiteUnknown(reference, ", ".join(zone.name for zone in known) or "none")


def server_id(zone: Zone) -> str:
    return stable_id(zone.id, "backup-server")


def vaults_of(inventory: Inventory, zone: str) -> list[Vault]:
    return sorted((vault for vault in inventory.vaults if vault.zone == zone), key=lambda vault: vault.name)


def address_of(vault: Vault) -> str:
    """How the vault's host is reached: the host of its ssh target; a host of the lab goes by its name."""
    if vault.access.driver == "ssh":
        return vault.access.target.rpartition("@")[2].partition(":")[0]
    return vault.name


def measure(world: World, vault: Vault) -> bool:
    """Ask a vault's host for the space of the file system that its folder is on, and keep it; whether it answered."""
    values: dict[str, Any]
    try:
        answer = world.rack.vault_host(vault.name).run(["stat", "-f", "-c", "%S %b %a", vault.path])
    except EngineError:
        values = {"reachable": False}
    else:
        found = _SPACE.match(answer.stdout.strip())
        values = {"reachable": False}
        if found is not None:
            block, total, free = (int(group) for group in found.groups())
            values = {
                "total": block * total,
                "free": block * free,
                "reachable": True,
                "measured_at": datetime.now(UTC),
            }
    with world.database.write() as session:
        sample = session.get(VaultSample, vault.name) or VaultSample(vault=vault.name)
        for name, value in values.items():
            setattr(sample, name, value)
        session.add(sample)
    return bool(values["reachable"])
