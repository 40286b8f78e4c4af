"""Machines as clients see them: one at a time or whole lists, with the same number of statements for any number of rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.orm import Session, defer

from naos.compute import extra_config, guest_systems
from naos.compute.models import MachineSample, Power, VirtualMachine
from naos.fleet.models import Blade, Cpool, Region, Zone
from naos.fleet.wire import moref
from naos.network.models import Adapter
from naos.storage.models import ClusterMember, DatastoreCluster, Disk, Lun, Snapshot
from naos.wire import Reference, Wire

PowerWord = Literal["running", "stopped"]
Tools = Literal["toolsOk", "toolsNotRunning", "toolsNotInstalled"]


class OperatingSystem(Wire):
    name: str


class Storage(Wire):
    """Bytes that the machine's disks may fill, and that they may fill beyond that."""

    committed: int
    uncommitted: int = 0


class BootOptions(Wire):
    """Times in milliseconds."""

    firmware: Literal["bios", "efi"]
    boot_delay: int
    enter_bios_setup: bool = Field(serialization_alias="enterBIOSSetup")
    boot_retry_enabled: bool
    boot_retry_delay: int
    efi_secure_boot_enabled: bool


class Pair(Wire):
    key: str
    value: str


class Alarm(Wire):
    id: str
    status: str


class Machine(Wire):
    """A machine. `host`, `memoryReservation`, `addresses` and `status` are naos' own additions.

    cpuUsage in MHz and memoryUsage in bytes are as last seen, seconds ago; tools is the guest's own agent.
    """

    id: str
    name: str
    moref: str
    machine_manager: Reference
    datacenter: Reference
    host_cluster: Reference
    datastore: Reference
    datastore_cluster: Reference | None
    host: Reference | None
    consolidation_needed: bool = False
    template: bool = False
    power_state: PowerWord
    hardware_version: str = guest_systems.HARDWARE
    num_cores_per_socket: int
    cpu: int
    memory: int
    memory_reservation: int
    operating_system: OperatingSystem
    operating_system_moref: str
    cpu_hot_add_enabled: bool
    cpu_hot_remove_enabled: bool
    memory_hot_add_enabled: bool
    cpu_usage: int
    memory_usage: int
    tools: Tools
    tools_version: int
    distributed_virtual_port_group_ids: list[str]
    spp_mode: str = "production"
    snapshoted: bool
    triggered_alarms: list[Alarm] = Field(default_factory=list)
    replication_config: None = None
    extra_config: list[Pair]
    storage: Storage
    boot_options: BootOptions
    expose_hardware_virtualization: bool
    addresses: list[str]
    status: str


@dataclass(frozen=True)
class Surroundings:
    """What lists of machines refer to, each in one statement. Zones by name, the rest by id (blades by name)."""

    managers: Mapping[str, Reference]
    datacenters: Mapping[str, Reference]
    pools: Mapping[str, Cpool]
    volumes: Mapping[str, Reference]
    clusters: Mapping[str, Reference]
    blades: Mapping[str, Reference]
    capacities: Mapping[str, int]
    networks: Mapping[str, Sequence[str]]
    samples: Mapping[str, MachineSample]
    snapshots: frozenset[str]


def listed(query: sa.Select[VirtualMachine]) -> sa.Select[VirtualMachine]:
    """The query without the columns that no list shows."""
    return query.options(defer(VirtualMachine.definition))


def machine_wire(session: Session, machine: VirtualMachine) -> Machine:
    """A machine as clients see it."""
    around = surroundings(session, machine.tenant_id, sa.select(sa.literal(machine.id)))
    return _wire(machine, around)


def machines_wire(session: Session, tenant_id: str, query: sa.Select[VirtualMachine]) -> list[Machine]:
    """The machines of a query, which is of one tenant."""
    ids = query.order_by(None).with_only_columns(VirtualMachine.id)
    around = surroundings(session, tenant_id, ids)
    return [_wire(machine, around) for machine in session.scalars(listed(query))]


def surroundings(session: Session, tenant_id: str, ids: sa.Select[str]) -> Surroundings:
    """ids: the machines that will be shown."""
    zones = session.execute(sa.select(Zone, Region).join(Region, Region.name == Zone.region)).all()
    members = (
        sa.select(ClusterMember.lun_id, DatastoreCluster.id, DatastoreCluster.name)
        .join(DatastoreCluster, DatastoreCluster.id == ClusterMember.cluster_id)
        .where(DatastoreCluster.tenant_id == tenant_id)
    )
    capacities = (
        sa.select(Disk.machine_id, sa.func.sum(Disk.capacity)).where(Disk.machine_id.in_(ids)).group_by(Disk.machine_id)
    )
    plugged = sa.select(Adapter.machine_id, Adapter.vlan_id).where(Adapter.machine_id.in_(ids)).order_by(Adapter.unit)
    networks: dict[str, list[str]] = {}
    for machine_id, vlan_id in session.execute(plugged):
        networks.setdefault(machine_id, []).append(vlan_id)
    samples = session.scalars(sa.select(MachineSample).where(MachineSample.machine_id.in_(ids)))
    pools = {pool.id: pool for pool in session.scalars(sa.select(Cpool).where(Cpool.tenant_id == tenant_id))}
    return Surroundings(
        managers={zone.name: Reference(id=region.id, name=region.name) for zone, region in zones},
        datacenters={zone.name: Reference(id=zone.id, name=zone.name) for zone, _ in zones},
        pools=pools,
        volumes=_references(session.execute(sa.select(Lun.id, Lun.name).where(Lun.tenant_id == tenant_id))),
        clusters={lun_id: Reference(id=found, name=name) for lun_id, found, name in session.execute(members)},
        blades={
            name: Reference(id=found, name=name)
            for found, name in session.execute(sa.select(Blade.id, Blade.name).where(Blade.cpool_id.in_(pools)))
        },
        capacities={str(machine_id): int(total) for machine_id, total in session.execute(capacities)},
        networks=networks,
        samples={sample.machine_id: sample for sample in samples},
        snapshots=frozenset(
            session.scalars(sa.select(Snapshot.machine_id).where(Snapshot.machine_id.in_(ids)).distinct())
        ),
    )


def _references(rows: Iterable[sa.Row[str, str]]) -> dict[str, Reference]:
    return {found: Reference(id=found, name=name) for found, name in rows}


def _wire(machine: VirtualMachine, around: Surroundings) -> Machine:
    pool = around.pools[machine.cpool_id]
    running = machine.power == Power.RUNNING
    sample = around.samples.get(machine.id)
    return Machine(
        id=machine.id,
        name=machine.name,
        moref=moref("vm-", machine.id),
        machine_manager=around.managers[pool.zone],
        datacenter=around.datacenters[pool.zone],
        host_cluster=Reference(id=pool.id, name=pool.name),
        datastore=around.volumes[machine.lun_id],
        datastore_cluster=around.clusters.get(machine.lun_id),
        host=around.blades.get(machine.blade) if machine.blade else None,
        power_state="running" if running else "stopped",
        num_cores_per_socket=machine.cores_per_socket,
        cpu=machine.cpu,
        memory=machine.memory,
        memory_reservation=machine.memory_reservation,
        operating_system=OperatingSystem(name=guest_systems.name_of(machine.guest_os)),
        operating_system_moref=machine.guest_os,
        cpu_hot_add_enabled=machine.hot_add_cpu,
        cpu_hot_remove_enabled=machine.hot_remove_cpu,
        memory_hot_add_enabled=machine.hot_add_memory,
        cpu_usage=sample.cpu if sample and running else 0,
        memory_usage=sample.memory if sample and running else 0,
        tools=_tools(sample, running=running),
        tools_version=tools_number(sample.version) if sample else 0,
        distributed_virtual_port_group_ids=list(around.networks.get(machine.id, ())),
        snapshoted=machine.id in around.snapshots,
        extra_config=[
            Pair(key=key, value=extra_config.as_text(value)) for key, value in sorted(machine.extra_config.items())
        ],
        storage=Storage(committed=around.capacities.get(machine.id, 0)),
        boot_options=BootOptions(
            firmware="efi" if machine.firmware == "efi" else "bios",
            boot_delay=machine.boot_delay,
            enter_bios_setup=machine.enter_setup,
            boot_retry_enabled=machine.boot_retry,
            boot_retry_delay=machine.boot_retry_delay,
            efi_secure_boot_enabled=machine.secure_boot,
        ),
        expose_hardware_virtualization=machine.nested,
        addresses=[entry["address"] for entry in machine.seed.get("addresses", []) if entry.get("address")],
        status=machine.lifecycle,
    )


def _tools(sample: MachineSample | None, *, running: bool) -> Tools:
    if sample is None or not sample.version:
        return "toolsNotInstalled"
    return "toolsOk" if running and sample.tools else "toolsNotRunning"


def tools_number(version: str) -> int:
    """``7.2.22`` -> 7002022; 0 for what is no version."""
    numbers = [int(part) for part in version.split(".")[:3] if part.isascii() and part.isdigit()]
    if not numbers:
        return 0
    major, minor, micro = [*numbers, 0, 0][:3]
    return major * 1_000_000 + min(minor, 999) * 1000 + min(micro, 999)
