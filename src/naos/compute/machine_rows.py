"""Machines as clients see them, straight from the tables: one statement for one machine or for a list of any length.

Each row becomes JSON by itself, so a long list takes little more memory than its answer. What is written here is what
`machine_wire.Machine` describes; a test compares the two.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.orm import Session

from naos.compute import extra_config, guest_systems
from naos.compute.machine_wire import tools_number
from naos.compute.models import MachineSample, Power, VirtualMachine
from naos.errors import Unknown
from naos.fleet.models import Blade, Cpool, Region, Zone
from naos.fleet.wire import moref
from naos.network.models import Adapter
from naos.storage.models import ClusterMember, DatastoreCluster, Disk, Lun, Snapshot, WaitingMachine

BATCH = 500

_machine, _disk, _adapter, _snapshot, _waiting = (
    VirtualMachine.__table__,
    Disk.__table__,
    Adapter.__table__,
    Snapshot.__table__,
    WaitingMachine.__table__,
)
# Aliases: a filter's own subquery on one of these tables is about rows of its own.
_pool, _home, _zone, _region = (
    Cpool.__table__.alias("pool"),
    Cpool.__table__.alias("home"),
    Zone.__table__.alias("zone"),
    Region.__table__.alias("region"),
)
_blade, _lun, _member, _cluster, _sample = (
    Blade.__table__.alias("on_blade"),
    Lun.__table__.alias("volume"),
    ClusterMember.__table__.alias("member"),
    DatastoreCluster.__table__.alias("cluster"),
    MachineSample.__table__.alias("sample"),
)


def _of_machine(select: sa.Select[Any]) -> sa.ScalarSelect[Any]:
    return select.correlate(_machine).scalar_subquery()


_COLUMNS = (
    *(
        _machine.c[name]
        for name in (
            "id",
            "name",
            "cores_per_socket",
            "cpu",
            "memory",
            "memory_reservation",
            "guest_os",
            "hot_add_cpu",
            "hot_remove_cpu",
            "hot_add_memory",
            "extra_config",
            "firmware",
            "boot_delay",
            "enter_setup",
            "boot_retry",
            "boot_retry_delay",
            "secure_boot",
            "nested",
            "seed",
            "lifecycle",
        )
    ),
    (_machine.c.power == Power.RUNNING).label("running"),
    _region.c.id.label("region_id"),
    _region.c.name.label("region_name"),
    _zone.c.id.label("zone_id"),
    _zone.c.name.label("zone_name"),
    _pool.c.id.label("pool_id"),
    _pool.c.name.label("pool_name"),
    _lun.c.id.label("lun_id"),
    _lun.c.name.label("lun_name"),
    _cluster.c.id.label("cluster_id"),
    _cluster.c.name.label("cluster_name"),
    sa.case((_home.c.id.is_not(None), _blade.c.id)).label("blade_id"),
    _blade.c.name.label("blade_name"),
    _sample.c.cpu.label("used_cpu"),
    _sample.c.memory.label("used_memory"),
    _sample.c.tools.label("tools_answer"),
    _sample.c.stuck.label("stuck"),
    _sample.c.version.label("tools_version"),
    _of_machine(sa.select(sa.func.sum(_disk.c.capacity)).where(_disk.c.machine_id == _machine.c.id)).label("capacity"),
    _of_machine(
        sa.select(
            sa.func.aggregate_strings(sa.cast(_adapter.c.unit, sa.String(20)) + " " + _adapter.c.vlan_id, ",")
        ).where(_adapter.c.machine_id == _machine.c.id)
    ).label("networks"),
    sa.exists().where(_snapshot.c.machine_id == _machine.c.id).correlate(_machine).label("snapshoted"),
    sa.exists().where(_waiting.c.machine_id == _machine.c.id).correlate(_machine).label("waits"),
)
_PLACES = (
    _machine.join(_pool, _pool.c.id == _machine.c.cpool_id)
    .join(_zone, _zone.c.name == _pool.c.zone)
    .join(_region, _region.c.name == _zone.c.region)
    .join(_lun, _lun.c.id == _machine.c.lun_id)
    .outerjoin(_member, _member.c.lun_id == _lun.c.id)
    .outerjoin(_cluster, sa.and_(_cluster.c.id == _member.c.cluster_id, _cluster.c.tenant_id == _machine.c.tenant_id))
    .outerjoin(_blade, _blade.c.name == _machine.c.blade)
    .outerjoin(_home, sa.and_(_home.c.id == _blade.c.cpool_id, _home.c.tenant_id == _machine.c.tenant_id))
    .outerjoin(_sample, _sample.c.machine_id == _machine.c.id)
)
_ONE = (
    sa.select(*_COLUMNS)
    .select_from(_PLACES)
    .where(_machine.c.id == sa.bindparam("machine_id"), _machine.c.tenant_id == sa.bindparam("tenant_id"))
)


def one(session: Session, tenant_id: str, machine_id: str) -> bytes:
    """A machine of the tenant. Raises Unknown."""
    row = session.connection().execute(_ONE, {"machine_id": machine_id, "tenant_id": tenant_id}).first()
    if row is None:
        raise Unknown("virtual machine", machine_id)
    return to_json(_shown(row))


def many(session: Session, query: sa.Select[VirtualMachine]) -> bytes:
    """The machines of a query, which is of one tenant, as a list in its order."""
    return b"[" + b",".join(_batches(session, query)) + b"]"


def _batches(session: Session, query: sa.Select[VirtualMachine]) -> Iterator[bytes]:
    chosen = query.with_only_columns(*_COLUMNS, maintain_column_froms=False).select_from(_PLACES)
    found = session.execute(chosen, execution_options={"yield_per": BATCH})
    for rows in found.partitions():
        yield to_json([_shown(row) for row in rows])[1:-1]


def _reference(identifier: str | None, name: str | None) -> dict[str, Any] | None:
    return None if identifier is None else {"id": identifier, "name": name}


def _shown(row: sa.Row[Any]) -> dict[str, Any]:
    """A row of `_COLUMNS` as `Machine`."""
    running, version = bool(row.running), row.tools_version or ""
    plugged = [entry.split(" ") for entry in row.networks.split(",")] if row.networks else []
    return {
        "id": row.id,
        "name": row.name,
        "moref": moref("vm-", row.id),
        "machineManager": {"id": row.region_id, "name": row.region_name},
        "datacenter": {"id": row.zone_id, "name": row.zone_name},
        "hostCluster": {"id": row.pool_id, "name": row.pool_name},
        "datastore": {"id": row.lun_id, "name": row.lun_name},
        "datastoreCluster": _reference(row.cluster_id, row.cluster_name),
        "host": _reference(row.blade_id, row.blade_name),
        "consolidationNeeded": False,
        "template": False,
        "powerState": "running" if running else "stopped",
        "hardwareVersion": guest_systems.HARDWARE,
        "numCoresPerSocket": row.cores_per_socket,
        "cpu": row.cpu,
        "memory": row.memory,
        "memoryReservation": row.memory_reservation,
        "operatingSystem": {"name": guest_systems.name_of(row.guest_os)},
        "operatingSystemMoref": row.guest_os,
        "cpuHotAddEnabled": row.hot_add_cpu,
        "cpuHotRemoveEnabled": row.hot_remove_cpu,
        "memoryHotAddEnabled": row.hot_add_memory,
        "cpuUsage": (row.used_cpu or 0) if running else 0,
        "memoryUsage": (row.used_memory or 0) if running else 0,
        "tools": _tools(version, answering=running and bool(row.tools_answer)),
        "toolsVersion": tools_number(version),
        "distributedVirtualPortGroupIds": [vlan for _, vlan in sorted(plugged, key=lambda entry: int(entry[0]))],
        "sppMode": "production",
        "snapshoted": bool(row.snapshoted),
        "triggeredAlarms": [
            {"id": kind, "status": "red"}
            for kind, on in (("space", row.waits), ("frozen", running and row.stuck))
            if on
        ],
        "replicationConfig": None,
        "extraConfig": [
            {"key": key, "value": extra_config.as_text(value)} for key, value in sorted(row.extra_config.items())
        ],
        "storage": {"committed": int(row.capacity or 0), "uncommitted": 0},
        "bootOptions": {
            "firmware": "efi" if row.firmware == "efi" else "bios",
            "bootDelay": row.boot_delay,
            "enterBIOSSetup": row.enter_setup,
            "bootRetryEnabled": row.boot_retry,
            "bootRetryDelay": row.boot_retry_delay,
            "efiSecureBootEnabled": row.secure_boot,
        },
        "exposeHardwareVirtualization": row.nested,
        "addresses": [entry["address"] for entry in row.seed.get("addresses", []) if entry.get("address")],
        "status": row.lifecycle,
    }


def _tools(version: str, *, answering: bool) -> str:
    if not version:
        return "toolsNotInstalled"
    return "toolsOk" if answering else "toolsNotRunning"
