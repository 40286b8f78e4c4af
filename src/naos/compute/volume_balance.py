"""Rebalancing of datastore clusters by space and by load: what should move, and the activity that moves it, live when machines run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.compute import relocation
from naos.compute.models import Power, VirtualMachine
from naos.compute.relocation import DiskPlacement, Wish
from naos.compute.volume_balance_rules import BUSY, LOAD_SPREAD, SPREAD, Load, Move, Reason, Volume, moves
from naos.errors import NaosError
from naos.inventory.catalogues import iops_limit
from naos.lifecycle import Lifecycle
from naos.storage import clusters, figures, luns, space
from naos.storage.models import Disk, Lun, LunSample, SnapshotDisk
from naos.storage.rules import NONPERSISTENT
from naos.world import World

ENOUGH = 600.0
"""Seconds of the last hour in which a volume must have been looked at, for its load to be known."""


@dataclass(eq=False)
class NothingToMove(NaosError):
    code: ClassVar[str] = "compute.nothing_to_move"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Nothing moves in datastore cluster {cluster!r}: {found}. Disks move when volumes are more than {spread} points apart, when one is "
        "at {busy} % of its limit of operations or more, and another {load_spread} points below, or when one is in maintenance; "
        "what has snapshots, or would not fit, stays."
    )
    cluster: str
    found: str
    spread: int = SPREAD
    busy: int = BUSY
    load_spread: int = LOAD_SPREAD


@dataclass(frozen=True)
class Recommendation:
    """The disks of a machine that should go from one volume of a cluster to another."""

    machine: VirtualMachine
    source: Lun
    target: Lun
    disks: Sequence[str]
    weight: int
    reason: Reason
    rate: float


def recommendations(session: Session, world: World, tenant_id: str, cluster_id: str) -> list[Recommendation]:
    """In the order in which they are worth it; a fixed number of statements. Raises Unknown."""
    cluster = clusters.find(session, tenant_id, cluster_id)
    members = {lun.id: lun for lun in clusters.members(session, cluster.id)}
    volumes = _volumes(session, world, members)
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
    rates = _rates(session, on_them)
    loads = _loads(volumes, on_them, attached, machines, held, rates)
    return [
        Recommendation(
            machines[move.machine_id],
            members[move.source],
            members[move.target],
            [disk.id for disk in attached[move.machine_id, move.source]],
            move.weight,
            move.reason,
            move.rate,
        )
        for move in _one_a_machine(moves(list(volumes.values()), loads))
    ]


def _volumes(session: Session, world: World, members: Mapping[str, Lun]) -> dict[str, Volume]:
    """Those whose space is known; their load, where it was looked at for long enough."""
    counted = figures.lately(session, list(members), datetime.now(UTC))
    samples = session.scalars(sa.select(LunSample).where(LunSample.lun_id.in_(members), LunSample.reachable.is_(True)))
    promised = space.promises(session, list(members))
    found = {}
    for sample in samples:
        lun = members[sample.lun_id]
        if lun.lifecycle == Lifecycle.ACTIVE:
            found[lun.id] = Volume(
                lun.id,
                lun.name,
                lun.capacity,
                sample.used,
                promised[lun.id].policy.maintenance,
                _rate(counted.get(lun.id, (0, 0.0))),
                iops_limit(luns.class_of(world, lun.storage_class), lun.capacity),
            )
    return found


def _loads(
    volumes: Mapping[str, Volume],
    on_them: Sequence[Disk],
    attached: Mapping[tuple[str, str], Sequence[Disk]],
    machines: Mapping[str, VirtualMachine],
    held: set[str],
    rates: Mapping[str, float],
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
        rate = sum(rates.get(disk.id, 0.0) for disk in disks)
        found.append(Load(machine_id, lun_id, weight, size, _obstacle(machine, disks, held), rate))
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
    wanted = recommendations(session, world, tenant_id, cluster_id)
    if not wanted:
        name = clusters.find(session, tenant_id, cluster_id).name
        members = {lun.id: lun for lun in clusters.members(session, cluster_id)}
        told = [_told(volume) for volume in _volumes(session, world, members).values()]
        raise NothingToMove(name, ", ".join(sorted(told)) or "no volume's space is known")
    placements = [
        DiskPlacement(disk_id, entry.machine.id, entry.target.id) for entry in wanted for disk_id in entry.disks
    ]
    ids = [entry.machine.id for entry in wanted]
    return relocation.plan_relocate(session, world, tenant_id, ids, Wish(placements=placements))


def _rate(counted: tuple[int, float]) -> float | None:
    """Operations a second; None where too little was looked at."""
    requests, seconds = counted
    return requests / seconds if seconds >= ENOUGH else None


def _rates(session: Session, disks: Sequence[Disk]) -> dict[str, float]:
    """Operations a second of disks, by id: what was asked of them while their volume was looked at."""
    wanted = {*(disk.id for disk in disks), *(disk.lun_id for disk in disks)}
    counted = figures.lately(session, wanted, datetime.now(UTC))
    found = {}
    for disk in disks:
        requests, seconds = counted.get(disk.id, (0, 0.0))[0], counted.get(disk.lun_id, (0, 0.0))[1]
        found[disk.id] = requests / seconds if seconds >= ENOUGH else 0.0
    return found


def _told(volume: Volume) -> str:
    busy = "" if volume.busy is None else f" and at {volume.busy:.0f} % of its limit of operations"
    return f"{volume.name} is {volume.share:.0f} % full{busy}"
