"""In which vault a machine's points are kept, and how they lie there."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.engines.errors import Unreachable
from naos.errors import Unknown
from naos.inventory.model import Inventory
from naos.protection import sites
from naos.protection.backup import members, terms
from naos.protection.backup.errors import EncryptedInClear
from naos.protection.backup.models import RestorePoint
from naos.protection.models import BackupPolicy, VaultSample
from naos.storage.models import Disk, Lun
from naos.world import World


def at_rest(world: World, policy_id: str, machine_id: str) -> Mapping[str, str]:
    """What encrypts where they lie the files of each vault of the policy's site, "" for nothing; asked only for a machine of which
    something is encrypted on its volume.

    Raises Unreachable when none that answers encrypts, and one does not answer: it may be the one that does.
    """
    with world.database.read() as session:
        policy = session.get(BackupPolicy, policy_id)
        if policy is None or policy.zone is None:
            return {}
        chosen, _ = members.disks_of(session, machine_id, policy_id)
        if not encrypted(session, chosen):
            return {}
        allowed = terms.read(session, policy).in_clear
        vaults = sites.vaults_of(world.inventory, policy.zone)
    found: dict[str, str] = {}
    silent: Unreachable | None = None
    for vault in vaults:
        try:
            found[vault.name] = world.rack.vault_points(vault.name).at_rest()
        except Unreachable as error:
            silent = error
    if silent is not None and not allowed and not any(found.values()):
        raise silent
    return found


def encrypted(session: Session, chosen: Sequence[Disk]) -> list[str]:
    """Names of those that are encrypted on their volumes."""
    wanted = sa.select(Lun.id).where(Lun.id.in_({disk.lun_id for disk in chosen}), Lun.wrapped_key.is_not(None))
    volumes = set(session.scalars(wanted))
    return [disk.name for disk in chosen if disk.lun_id in volumes]


def choose(
    session: Session,
    inventory: Inventory,
    policy: BackupPolicy,
    machine: VirtualMachine,
    chosen: Sequence[Disk],
    protecting: Mapping[str, str],
) -> tuple[str, list[str]]:
    """Where the machine's points under this policy are already, else the site's vault with most free space, as last measured; and
    what the point has to say of disks that are encrypted on their volumes.

    protecting: as `at_rest` found. Raises EncryptedInClear when they would lie in clear, unless the policy allows it.
    """
    names = [vault.name for vault in sites.vaults_of(inventory, policy.zone or "")]
    if not names:
        raise Unknown("vault in zone", policy.zone or "")
    disks = encrypted(session, chosen)
    if disks and not terms.read(session, policy).in_clear:
        names = [name for name in names if protecting.get(name)]
        if not names:
            raise EncryptedInClear(machine.name, ", ".join(disks), policy.zone or "", policy.name)
    vault = _known_or_roomiest(session, names, policy.id, machine.id)
    how = f"by the vault's host here ({protecting[vault]})" if protecting.get(vault) else "in clear here"
    return vault, [f"{name}: encrypted on its volume, {how}" for name in disks]


def _known_or_roomiest(session: Session, names: Sequence[str], policy_id: str, machine_id: str) -> str:
    present = (
        sa.select(RestorePoint.vault)
        .where(RestorePoint.machine_id == machine_id, RestorePoint.policy_id == policy_id)
        .order_by(RestorePoint.taken_at.desc())
    )
    for name in session.scalars(present):
        if name in names:
            return str(name)
    free = {sample.vault: sample.free for sample in session.scalars(sa.select(VaultSample))}
    return max(names, key=lambda name: (free.get(name, 0), name))
