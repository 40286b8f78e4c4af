"""Disks, controllers, adapters and snapshots on the wire. Lists are made with a fixed number of queries, however long they are."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.orm import Session

from naos.engines.ports import Provisioning
from naos.fleet.wire import manager_of
from naos.ids import ResourceId
from naos.names import Name
from naos.network.models import Adapter, Vlan
from naos.network.rules import AdapterType
from naos.network.wire import NetworkAdapter
from naos.storage import controllers
from naos.storage.models import Disk, Lun, Snapshot, SnapshotMemory
from naos.storage.models import VirtualController as Controller
from naos.storage.snapshot_growth import Growth
from naos.wire import Reference, Request, Whole, Wire

DiskMode = Literal["persistent", "independent_persistent", "independent_nonpersistent"]
ControllerType = Literal["USB2", "USB3", "SCSI", "CD/DVD", "NVME"]
SubType = Literal["BusLogic", "LSILogic", "LSILogicSAS", "ParaVirtual"]


class DiskController(Wire):
    id: str
    bus_number: int
    type: str


class VirtualDisk(Wire):
    """`disk_unit_number`: its place on the controller. A disk that is unmounted has an empty `virtual_machine_id` and no
    controller."""

    id: str
    name: str
    virtual_machine_id: str
    machine_manager: Reference
    datastore: Reference
    capacity: int
    disk_unit_number: int
    instant_access: bool = False
    native_id: str
    disk_path: str
    provisioning_type: Provisioning
    disk_mode: str
    editable: bool = True
    controller: DiskController
    status: str


class VirtualController(Wire):
    """`name`: the label, for clients that look for one. `sub_type`: as it was given; `summary`: what the guest gets. `mounted`,
    `connected` and `iso_item_id` are naos' own, of drives."""

    id: str
    virtual_machine_id: str
    name: str
    hot_add_remove: bool
    type: str
    sub_type: str
    label: str
    summary: str
    virtual_disks: list[str]
    mounted: bool
    connected: bool
    iso_item_id: str
    status: str


class SnapshotWire(Wire):
    """`create_time`: milliseconds since 1970. `parent_id` is empty for a root; `current`: the disks have been written to since
    this one. `memory`: the guest can go on from it; `memory_size`: bytes that this takes on the volume. `size`,
    `growth_per_day`: bytes that lie on the volumes for its sake alone, null before they were seen; `warnings`: of its age and size."""

    id: str
    virtual_machine_id: str
    name: str
    description: str
    create_time: int
    quiesced: bool
    memory: bool
    memory_size: int
    parent_id: str
    current: bool
    status: str
    size: int | None
    growth_per_day: int | None
    warnings: list[str]


# ------------------------------------------------------------------------------------------------------------- requests


class DiskCreation(Request):
    """Left out, `controller_id` is the platform's choice. One of the datastore keys; with neither, the machine's volume."""

    virtual_machine_id: ResourceId
    capacity: Whole
    provisioning_type: Provisioning = Provisioning.DYNAMIC
    disk_mode: DiskMode = "persistent"
    controller_id: ResourceId | None = None
    datastore_id: ResourceId | None = None
    datastore_cluster_id: ResourceId | None = None


class DiskUpdate(Request):
    """What is left out stays."""

    id: ResourceId
    new_capacity: Whole | None = None
    disk_mode: DiskMode | None = None


class DiskMounting(Request):
    """`path`: a disk's own `diskPath`."""

    virtual_machine_id: ResourceId
    path: str = Field(max_length=1024)


class DiskUnmounting(Request):
    virtual_disk_id: ResourceId


class ControllerCreation(Request):
    virtual_machine_id: ResourceId
    type: ControllerType
    sub_type: SubType | None = None


class MediumMounting(Request):
    """One of the two: an item of a content library, or `[content library] item`."""

    id: ResourceId
    iso_path: str | None = Field(default=None, max_length=1024)
    content_library_item_id: ResourceId | None = None


class DeviceAction(Request):
    id: ResourceId


class AdapterCreation(Request):
    virtual_machine_id: ResourceId
    network_id: ResourceId
    type: AdapterType = "VMXNET3"
    mac_address: str | None = None
    ip_address: str | None = None


class AdapterUpdate(Request):
    """Without `mac_address` the address stays, and counts as assigned by the platform."""

    id: ResourceId
    new_network_id: ResourceId | None = None
    auto_connect: bool | None = None
    mac_address: str | None = None
    ip_address: str | None = None


class SnapshotCreation(Request):
    """`quiesce`: the guest's agent brings its file systems to rest first. `memory`: of a running guest, instead of that."""

    virtual_machine_id: ResourceId
    name: Name
    description: str = Field(default="", max_length=4096)
    quiesce: bool = False
    memory: bool = False


class SnapshotReversion(Request):
    """`memory` false: the disks alone, whatever the snapshot holds."""

    id: ResourceId
    memory: bool = True


class Consolidation(Request):
    virtual_machine_id: ResourceId


# -------------------------------------------------------------------------------------------------------------- answers


def _by_id(session: Session, table: type[Lun] | type[Vlan], wanted: Iterable[str]) -> dict[str, Reference]:
    rows = session.execute(sa.select(table.id, table.name).where(table.id.in_(set(wanted))))
    return {identifier: Reference(id=identifier, name=name) for identifier, name in rows}


def _managers(session: Session) -> Callable[[str], Reference]:
    known: dict[str, Reference] = {}

    def of(zone: str) -> Reference:
        if zone not in known:
            known[zone] = manager_of(session, zone)
        return known[zone]

    return of


def disk_wires(session: Session, rows: Sequence[Disk]) -> list[VirtualDisk]:
    luns = {lun.id: lun for lun in session.scalars(sa.select(Lun).where(Lun.id.in_({row.lun_id for row in rows})))}
    wanted = {row.controller_id for row in rows if row.controller_id}
    held = {entry.id: entry for entry in session.scalars(sa.select(Controller).where(Controller.id.in_(wanted)))}
    manager = _managers(session)
    return [_disk(row, luns[row.lun_id], held.get(row.controller_id or ""), manager) for row in rows]


def disk_wire(session: Session, row: Disk) -> VirtualDisk:
    return disk_wires(session, [row])[0]


def _disk(disk: Disk, lun: Lun, held: Controller | None, manager: Callable[[str], Reference]) -> VirtualDisk:
    return VirtualDisk(
        id=disk.id,
        name=disk.name,
        virtual_machine_id=disk.machine_id or "",
        machine_manager=manager(lun.zone),
        datastore=Reference(id=lun.id, name=lun.name),
        capacity=disk.capacity,
        disk_unit_number=disk.slot,
        native_id=disk.id,
        disk_path=disk_path(lun.name, disk.id),
        provisioning_type=Provisioning(disk.provisioning),
        disk_mode=disk.mode,
        controller=DiskController(
            id=held.id if held else "", bus_number=held.number if held else 0, type=held.type if held else ""
        ),
        status=disk.lifecycle,
    )


def disk_path(lun: str, disk_id: str) -> str:
    """What clients name a disk's file by: ``[volume] disks/<id>.qcow2``."""
    return f"[{lun}] disks/{disk_id}.qcow2"


def controller_wires(session: Session, rows: Sequence[Controller]) -> list[VirtualController]:
    disks = controllers.disks_by_controller(session, [row.id for row in rows])
    return [_controller(row, disks.get(row.id, [])) for row in rows]


def controller_wire(session: Session, row: Controller) -> VirtualController:
    return controller_wires(session, [row])[0]


def _controller(row: Controller, disks: list[str]) -> VirtualController:
    device = controllers.DEVICES[row.device]
    return VirtualController(
        id=row.id,
        virtual_machine_id=row.machine_id,
        name=controllers.label(row),
        hot_add_remove=device.pluggable,
        type=row.type,
        sub_type=row.sub_type,
        label=controllers.label(row),
        summary=device.summary,
        virtual_disks=disks,
        mounted=row.item_id is not None,
        connected=row.connected,
        iso_item_id=row.item_id or "",
        status=row.lifecycle,
    )


def adapter_wires(session: Session, rows: Sequence[Adapter]) -> list[NetworkAdapter]:
    vlans = _by_id(session, Vlan, (row.vlan_id for row in rows))
    return [
        NetworkAdapter(
            id=row.id,
            virtual_machine_id=row.machine_id,
            name=f"Network adapter {row.unit + 1}",
            network=vlans[row.vlan_id],
            type=row.type,
            mac_type=row.mac_type,
            mac_address=row.mac,
            connected=row.connected,
            auto_connect=row.auto_connect,
        )
        for row in rows
    ]


def adapter_wire(session: Session, row: Adapter) -> NetworkAdapter:
    return adapter_wires(session, [row])[0]


def snapshot_wire(row: Snapshot, growth: Growth, memory: SnapshotMemory | None) -> SnapshotWire:
    seen = growth.measured_at is not None
    return SnapshotWire(
        id=row.id,
        virtual_machine_id=row.machine_id,
        name=row.name,
        description=row.description,
        create_time=_milliseconds(row.created_at),
        quiesced=row.quiesced,
        memory=memory is not None,
        memory_size=memory.capacity if memory is not None else 0,
        parent_id=row.parent_id or "",
        current=row.current,
        status=row.lifecycle,
        size=growth.held if seen else None,
        growth_per_day=growth.per_day if seen else None,
        warnings=list(growth.warnings),
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
