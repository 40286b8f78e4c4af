"""What the tables hold, read in one transaction, without what an activity is working on at this moment."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity.models import UNFINISHED, Activity, ActivityLock, ActivityUndo, UndoState
from naos.catalogue import library
from naos.catalogue.models import Export, Template, Upload
from naos.compute.models import VirtualMachine
from naos.fleet.models import Blade, Cpool
from naos.migrations import blade_loads
from naos.network.models import Adapter, Propagation, Vlan
from naos.protection.recovery.models import Remnant
from naos.storage.models import (
    Disk,
    Lun,
    Snapshot,
    SnapshotDisk,
    SnapshotMemory,
    SwapFile,
    VirtualController,
    VolumePolicy,
)


@dataclass(frozen=True)
class Tables:
    """Rows by id; `moving` are the resources (``virtual_machine:<id>``) that an unfinished activity holds for itself."""

    machines: dict[str, VirtualMachine]
    disks: dict[str, Disk]
    luns: dict[str, Lun]
    vlans: dict[str, Vlan]
    adapters: dict[str, Adapter]
    cpools: dict[str, Cpool]
    blades: list[Blade]
    templates: dict[str, Template]
    images: dict[str, str]  # id of a file of the library -> its template's
    uploads: dict[str, Upload]
    exports: dict[str, Export]
    carried: dict[str, set[int]]  # cpool id -> tags
    controllers: dict[str, VirtualController]
    snapshots: dict[str, Snapshot]
    swap_files: set[tuple[str, str]]  # ids of machine and volume
    policies: dict[str, VolumePolicy]  # by volume id
    snapshotted: dict[str, set[str]]  # disk id -> snapshots that hold it
    remnants: dict[str, set[str]]  # volume id -> disks that a failover left there
    memories: dict[str, SnapshotMemory]  # what snapshots hold of memory, by the snapshot's id
    moving: frozenset[str]
    unfinished: frozenset[str]  # activity ids
    stale_locks: list[str]  # activity ids
    failed_undo: dict[str, str]  # activity id -> what could not be undone
    loads: dict[str, dict[str, tuple[int, int, int]]]  # kept or summed -> blade -> memory, vCPUs and machines

    def is_moving(self, kind: str, identifier: str) -> bool:
        return f"{kind}:{identifier}" in self.moving


def read(session: Session) -> Tables:
    unfinished = set(session.scalars(sa.select(Activity.id).where(Activity.state.in_(UNFINISHED))))
    locks = list(session.scalars(sa.select(ActivityLock)))
    tags = {vlan.id: vlan.tag for vlan in session.scalars(sa.select(Vlan))}
    carried: dict[str, set[int]] = {}
    for propagation in session.scalars(sa.select(Propagation)):
        carried.setdefault(propagation.cpool_id, set()).add(tags[propagation.vlan_id])
    snapshotted: dict[str, set[str]] = {}
    for held in session.scalars(sa.select(SnapshotDisk)):
        snapshotted.setdefault(held.disk_id, set()).add(held.snapshot_id)
    failed = session.scalars(sa.select(ActivityUndo).where(ActivityUndo.state == UndoState.FAILED))
    return Tables(
        machines={row.id: row for row in session.scalars(sa.select(VirtualMachine))},
        disks={row.id: row for row in session.scalars(sa.select(Disk))},
        luns={row.id: row for row in session.scalars(sa.select(Lun))},
        vlans={row.id: row for row in session.scalars(sa.select(Vlan))},
        adapters={row.id: row for row in session.scalars(sa.select(Adapter))},
        cpools={row.id: row for row in session.scalars(sa.select(Cpool))},
        blades=list(session.scalars(sa.select(Blade).order_by(Blade.name))),
        templates={row.id: row for row in session.scalars(sa.select(Template))},
        images=library.image_ids(session),
        uploads={row.id: row for row in session.scalars(sa.select(Upload))},
        exports={row.id: row for row in session.scalars(sa.select(Export))},
        carried=carried,
        controllers={row.id: row for row in session.scalars(sa.select(VirtualController))},
        snapshots={row.id: row for row in session.scalars(sa.select(Snapshot))},
        swap_files={(row.machine_id, row.lun_id) for row in session.scalars(sa.select(SwapFile))},
        policies={row.lun_id: row for row in session.scalars(sa.select(VolumePolicy))},
        snapshotted=snapshotted,
        remnants=_remnants(session),
        memories={row.snapshot_id: row for row in session.scalars(sa.select(SnapshotMemory))},
        moving=frozenset(lock.resource for lock in locks if lock.activity_id in unfinished and not lock.shared),
        unfinished=frozenset(unfinished),
        stale_locks=sorted({lock.activity_id for lock in locks} - unfinished),
        failed_undo={row.activity_id: row.description for row in failed},
        loads=_loads(session),
    )


def _remnants(session: Session) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for remnant in session.scalars(sa.select(Remnant)):
        found.setdefault(remnant.lun_id, set()).add(remnant.disk_id)
    return found


def _loads(session: Session) -> dict[str, dict[str, tuple[int, int, int]]]:
    """One statement, so that both are of one moment on every database."""
    kept = "SELECT 'kept' AS what, blade, memory, vcpus, machines FROM blade_loads"
    summed = f"SELECT 'summed', blade, memory, vcpus, machines FROM ({blade_loads.SUM}) AS counted"  # noqa: S608 - a constant
    found: dict[str, dict[str, tuple[int, int, int]]] = {"kept": {}, "summed": {}}
    for what, blade, memory, vcpus, machines in session.execute(sa.text(f"{kept} UNION ALL {summed}")):
        found[what][blade] = (int(memory), int(vcpus), int(machines))
    return found
