"""Machines from items: where they go, what hardware they get, which networks their adapters are on."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.catalogue import library
from naos.catalogue.models import Template
from naos.catalogue.ovf.descriptor import Adapter, Descriptor
from naos.compute import extra_config, guest_systems, machines, rules, seeds
from naos.compute.deploy_options import seed_of
from naos.compute.deployment_wire import AdapterWish, Deployment
from naos.compute.firmware import EFI
from naos.compute.machines import AdapterRequest, DiskRequest, MachineRequest
from naos.compute.models import VirtualMachine
from naos.errors import NaosError, Unknown
from naos.fleet import cpools
from naos.fleet.models import Blade, Cpool
from naos.lifecycle import Lifecycle
from naos.network.models import Propagation, Vlan
from naos.storage import luns
from naos.units import MIB
from naos.world import World

DEFAULT_CPU = 1
DEFAULT_MEMORY = 128 * MIB
"""Bytes, where neither the request nor the item says."""
_ADAPTER_TYPES = {"e1000": "E1000", "e1000e": "E1000E", "vmxnet3": "VMXNET3"}


@dataclass(eq=False)
class NoPoolInZone(NaosError):
    code: ClassVar[str] = "compute.no_pool_in_zone"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "There is no cpool in zone {zone}, where the machine is to go; make one, or choose another zone."
    )
    zone: str


@dataclass(eq=False)
class MappingUnknown(NaosError):
    code: ClassVar[str] = "compute.mapping_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Item {item!r} has no adapter {reference!r} to put on a network; it has {known}."
    item: str
    reference: str
    known: str


@dataclass(eq=False)
class MappingAmbiguous(NaosError):
    code: ClassVar[str] = "compute.mapping_ambiguous"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Give either networkData, for the adapters that item {item!r} has, or networkAdapters, which take their place; not both."
    )
    item: str


@dataclass(eq=False)
class MappingMissing(NaosError):
    code: ClassVar[str] = "compute.mapping_missing"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Adapter {adapter!r} of item {item!r} needs a network and cpool {cpool!r} carries none. Bring a VLAN to the cpool, "
        "or send an empty list of networkAdapters for a machine without adapters."
    )
    adapter: str
    item: str
    cpool: str


@dataclass(frozen=True)
class Mapping:
    """`reference`: an adapter's id or name, or its network's name in the item. `vlan_id`: where it goes."""

    reference: str
    vlan_id: str


def plan(session: Session, world: World, tenant_id: str, library_id: str, body: Deployment) -> Plan:
    """Deploy an item of one of the tenant's libraries. Raises what `plan_template` does, and Unknown."""
    library.find(session, tenant_id, library_id)
    template = library.find_template(session, tenant_id, body.content_library_item_id)
    if template.library_id != library_id:
        raise Unknown("template", template.id)
    mappings = [Mapping(entry.network_adapter_id, entry.network_id) for entry in body.network_data]
    return plan_template(session, world, tenant_id, template, body, mappings)


def plan_template(
    session: Session, world: World, tenant_id: str, template: Template, body: Deployment, mappings: Sequence[Mapping]
) -> Plan:
    """Deploy a template, whose tenant the caller has looked at.

    Raises what `machines.plan_create` does, and OptionUnknown, OptionInvalid, PropertyInvalid, PropertyMissing, NoPoolInZone,
    MappingUnknown, MappingAmbiguous, MappingMissing, SeedRefused.
    """
    said = library.descriptor_of(template)
    cpool = _cpool(session, tenant_id, body)
    adapters = _adapters(session, tenant_id, cpool, template, said, mappings, body.network_adapters)
    seed = seed_of(template.name, said.properties, [(option.id, option.value) for option in body.deploy_options])
    request = MachineRequest(
        name=body.name,
        cpool_id=cpool.id,
        lun_id=body.datastore_id,
        cpu=body.cpu if body.cpu is not None else said.cpu or DEFAULT_CPU,
        memory=body.memory if body.memory is not None else said.memory or default_memory(said),
        cores_per_socket=_cores(body, said),
        provisioning=body.disks_provisioning_type,
        blade_id=body.host_id,
        datacenter_id=body.datacenter_id,
        power_on=body.power_on,
        seed=seed,
        adapters=adapters,
        disks=_disks(session, template, body.disk_capacity),
        settings=_settings(said),
    )
    seeds.check(request.name, seed, [(wish.address, wish.gateway) for wish in adapters])
    return machines.plan_create(session, world, tenant_id, request, template=template)


def default_memory(said: Descriptor) -> int:
    """Of an item that does not say how much memory it wants."""
    return max(DEFAULT_MEMORY, rules.EFI_MEMORY if said.firmware == EFI else 0)


def _cores(body: Deployment, said: Descriptor) -> int:
    """The item's sockets, for as long as its vCPUs are."""
    cores = said.cores_per_socket if body.cpu in (None, said.cpu) else 0
    return cores if cores and said.cpu % cores == 0 else 1


def _settings(said: Descriptor) -> dict[str, Any]:
    """What else the item says of a machine: only what naos knows of it."""
    found: dict[str, Any] = {"firmware": said.firmware} if said.firmware else {}
    if said.system_id in guest_systems.guest_systems():
        found["guest_os"] = said.system_id
    config: dict[str, extra_config.Value] = {}
    for entry in said.extra_config:
        with contextlib.suppress(NaosError):
            config |= extra_config.checked({entry.key: _typed(entry.key, entry.value)})
    return found | ({"extra_config": config} if config else {})


def _typed(key: str, text: str) -> extra_config.Value:
    """A descriptor writes everything as text."""
    if key in extra_config.FLAGS and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return int(text) if key in extra_config.NUMBERS and text.isdecimal() and len(text) < 10 else text


def _disks(session: Session, template: Template, first: int | None) -> list[DiskRequest]:
    """`first`: bytes of the first disk, None for its own size."""
    return [
        DiskRequest(
            size=first if first is not None and disk.position == 0 else disk.capacity,
            least=disk.capacity,
            backing=disk.id,
        )
        for disk in library.disks_of(session, template.id)
    ]


# ---------------------------------------------------------------------------------------------------------------- place


def _cpool(session: Session, tenant_id: str, body: Deployment) -> Cpool:
    """Where the machine goes. Raises Unknown, NotReady, NoPoolInZone."""
    if body.host_cluster_id is not None:
        return cpools.find_ready(session, tenant_id, body.host_cluster_id)
    if body.host_id is not None:
        named = sa.select(Blade).where(sa.or_(Blade.id == body.host_id, Blade.name == body.host_id))
        blade = session.scalar(named)
        cpool = session.get(Cpool, blade.cpool_id) if blade is not None and blade.cpool_id is not None else None
        if cpool is None or cpool.tenant_id != tenant_id:
            raise Unknown("host", body.host_id)  # not the pool: of whom a blade is, is nobody else's business
        return cpools.find_ready(session, tenant_id, cpool.id)
    lun = luns.find_ready(session, tenant_id, body.datastore_id)
    zone = cpools.find_zone(session, body.datacenter_id or lun.zone).name
    reserved = (
        sa.select(sa.func.coalesce(sa.func.sum(VirtualMachine.reserved), 0))
        .where(VirtualMachine.cpool_id == Cpool.id)
        .scalar_subquery()
    )
    emptiest = (
        sa.select(Cpool)
        .where(Cpool.tenant_id == tenant_id, Cpool.zone == zone, Cpool.lifecycle == Lifecycle.ACTIVE)
        .order_by((Cpool.memory - reserved).desc(), Cpool.name)
    )
    found = session.scalars(emptiest).first()
    if found is None:
        raise NoPoolInZone(zone)
    return found


# ------------------------------------------------------------------------------------------------------------- networks


def _adapters(
    session: Session,
    tenant_id: str,
    cpool: Cpool,
    template: Template,
    said: Descriptor,
    mappings: Sequence[Mapping],
    wishes: Sequence[AdapterWish] | None,
) -> list[AdapterRequest]:
    if wishes is not None:
        if mappings:
            raise MappingAmbiguous(template.name)
        return [AdapterRequest(wish.network_id, wish.mac_address, wish.address, wish.gateway) for wish in wishes]
    chosen = _chosen(template.name, said, mappings)
    carried = _carried(session, tenant_id, cpool)
    return [_adapter(template.name, cpool, entry, chosen.get(entry.id), carried) for entry in said.adapters]


def _chosen(item: str, said: Descriptor, mappings: Sequence[Mapping]) -> dict[str, str]:
    """VLAN ids by adapters' ids; a mapping by an adapter's own id goes before one by its network. Raises MappingUnknown."""
    found: dict[str, str] = {}
    for key in (_network, _name, _identifier):
        for mapping in mappings:
            found |= {entry.id: mapping.vlan_id for entry in said.adapters if key(entry) == mapping.reference}
    known = {text for entry in said.adapters for text in (entry.id, entry.name, entry.network)}
    for mapping in mappings:
        if mapping.reference not in known:
            listed = ", ".join(f"{entry.id} ({entry.name}, on {entry.network})" for entry in said.adapters)
            raise MappingUnknown(item, mapping.reference[:100], listed or "none: send networkAdapters instead")
    return found


def _identifier(entry: Adapter) -> str:
    return entry.id


def _name(entry: Adapter) -> str:
    return entry.name


def _network(entry: Adapter) -> str:
    return entry.network


def _carried(session: Session, tenant_id: str, cpool: Cpool) -> list[Vlan]:
    wanted = (
        sa.select(Vlan)
        .join(Propagation, Propagation.vlan_id == Vlan.id)
        .where(Propagation.cpool_id == cpool.id, Vlan.tenant_id == tenant_id, Vlan.lifecycle == Lifecycle.ACTIVE)
    )
    return list(session.scalars(wanted.order_by(Vlan.name)))


def _adapter(item: str, cpool: Cpool, entry: Adapter, chosen: str | None, carried: Sequence[Vlan]) -> AdapterRequest:
    """An adapter that nobody mapped is on the network of the same name, else on the cpool's first one with its cable out: nothing
    talks where nobody chose that it should. Raises MappingMissing."""
    kind = _ADAPTER_TYPES.get(entry.type.lower(), "VMXNET3")
    if chosen is not None:
        return AdapterRequest(chosen, type=kind)
    same = next((vlan for vlan in carried if vlan.name == entry.network), None)
    if same is not None:
        return AdapterRequest(same.id, type=kind)
    if not carried:
        raise MappingMissing(entry.name, item, cpool.name)
    return AdapterRequest(carried[0].id, type=kind, connected=False)
