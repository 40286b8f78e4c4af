"""Rebalancing of datastore clusters by space: what should move, and the activity that moves it, live when machines run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.compute import relocation
from naos.compute.models import Power, VirtualMachine
from naos.compute.relocation import DiskPlacement, Wish
from naos.compute.volume_balance_rules import SPREAD, Load, Move, Volume, moves
from naos.errors import NaosError
from naos.lifecycle import Lifecycle
from naos.storage import clusters, space
from naos.storage.models import Disk, Lun, LunSample, SnapshotDisk
from naos.storage.rules import NONPERSISTENT
from naos.world import World


@dataclass(eq=False)
class NothingToMove(NaosError):
    code: ClassVar[str] = "compute.nothing_to_move"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Nothing moves in datastore cluster {cluster!r}: {found}. Disks move when volumes are more than {spread} points apart, or when one "
        "is in maintenance; what has snapshots, or would not fit, stays."
    )
    cluster: str
    found: str
    spread: int


@dataclass(frozen=True)
class Recommendation:
    """The disks of a machine that should go from one volume of a cluster to another."""

    machine: VirtualMachine
    source: Lun
    target: Lun
    disks: Sequence[str]
    weight: int


def recommendations(session: Session, tenant_id: str, cluster_id: str) -> list[Recommendation]:
    """In the order in which they are worth it; a fixed number of statements. Raises Unknown."""
    cluster = clusters.find(session, tenant_id, cluster_id)
    members = {lun.id: lun for lun in clusters.members(session, cluster.id)}
    volumes = _volumes(session, members)
    on_them = list(session.scalars(sa.select(Disk).where(Disk.lun_id.in_(volumes)).order_by(Disk.unit)))
    attached: dict[tuple[str, str], list[Disk]] = {}
    for disk in on_them:
        if disk.machine_id is not None:
            attached.setdefault((disk.machine_id, disk.lun_id), []).append(disk)
    machines = {
        row.id: row
        for row in session.scalars(sa.select(VirtualMachine).where(VirtualMachine.id.in_({key for key, _ in attached})))
    }
    held = set(
        session.scalars(sa.select(SnapshotDisk.disk_id).where(SnapshotDisk.disk_id.in_([d.id for d in on_them])))
    )
    loads = _loads(volumes, on_them, attached, machines, held)
    return [
        Recommendation(
            machines[move.machine_id],
            members[move.source],
            members[move.target],
            [disk.id for disk in attached[move.machine_id, move.source]],
            move.weight,
        )
        for move in _one_a_machine(moves(list(volumes.values()), loads))
    ]


def _volumes(session: Session, members: Mapping[str, Lun]) -> dict[str, Volume]:
    """Those whose space is known."""
    samples = session.scalars(sa.select(LunSample).where(LunSample.lun_id.in_(members), LunSample.reachable.is_(True)))
    promised = space.promises(session, list(members))
    found = {}
    for sample in samples:
        lun = members[sample.lun_id]
        if lun.lifecycle == Lifecycle.ACTIVE:
            found[lun.id] = Volume(lun.id, lun.name, lun.capacity, sample.used, promised[lun.id].policy.maintenance)
    return found


def _loads(
    volumes: Mapping[str, Volume],
    on_them: Sequence[Disk],
    attached: Mapping[tuple[str, str], Sequence[Disk]],
    machines: Mapping[str, VirtualMachine],
    held: set[str],
) -> list[Load]:
    """A volume's use is laid on its disks by their sizes."""
    sizes: dict[str, int] = {}
    for disk in on_them:
        sizes[disk.lun_id] = sizes.get(disk.lun_id, 0) + disk.capacity
    found = []
    for (machine_id, lun_id), disks in attached.items():
        machine = machines.get(machine_id)
        if machine is None:
            continue
        size = sum(disk.capacity for disk in disks)
        weight = min(volumes[lun_id].used * size // max(sizes[lun_id], 1), size)
        found.append(Load(machine_id, lun_id, weight, size, _obstacle(machine, disks, held)))
    return found


def _obstacle(machine: VirtualMachine, disks: Sequence[Disk], held: set[str]) -> str:
    if machine.lifecycle != Lifecycle.ACTIVE or any(disk.lifecycle != Lifecycle.ACTIVE for disk in disks):
        return "it is being changed"
    if any(disk.id in held for disk in disks):
        return "a snapshot holds its disks"
    if machine.power == Power.RUNNING and any(disk.mode == NONPERSISTENT for disk in disks):
        return "what it writes to a non-persistent disk cannot move"
    return ""


def _one_a_machine(found: Sequence[Move]) -> list[Move]:
    """A machine with disks on several volumes moves once at a time."""
    first: dict[str, Move] = {}
    for move in found:
        first.setdefault(move.machine_id, move)
    return list(first.values())


def plan(session: Session, world: World, tenant_id: str, cluster_id: str) -> Plan:
    """Apply what is recommended now, one machine after the other. Raises Unknown, NothingToMove, and what a move does."""
    wanted = recommendations(session, tenant_id, cluster_id)
    if not wanted:
        name = clusters.find(session, tenant_id, cluster_id).name
        members = {lun.id: lun for lun in clusters.members(session, cluster_id)}
        shares = [f"{volume.name} is {volume.share:.0f} % full" for volume in _volumes(session, members).values()]
        raise NothingToMove(name, ", ".join(sorted(shares)) or "no volume's space is known", SPREAD)
    placements = [
        DiskPlacement(disk_id, entry.machine.id, entry.target.id) for entry in wanted for disk_id in entry.disks
    ]
    ids = [entry.machine.id for entry in wanted]
    return relocation.plan_relocate(session, world, tenant_id, ids, Wish(placements=placements))
