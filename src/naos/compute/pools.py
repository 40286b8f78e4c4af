"""Changes of cpools: what is enabled, rates, blades that join and leave. Checks and plans; nothing here touches the world.

They live with the machines because what runs decides whether they are possible.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan
from naos.compute import choosing, hooks
from naos.compute.models import BladeLoad, VirtualMachine
from naos.compute.pool_errors import BladeInUse, NothingChanges
from naos.errors import Unknown
from naos.fleet import cpools, rules
from naos.fleet.models import Blade, Cpool
from naos.inventory.catalogues import memory_ceiling, memory_floor
from naos.names import listing
from naos.network import vlans
from naos.network.models import Propagation
from naos.world import World

FIELDS = ("memory", "vcpuRate", "memoryOvercommit", "automationLevel", "balanceThreshold")


def plan_update(session: Session, world: World, tenant_id: str, cpool_id: str, changes: Mapping[str, Any]) -> Plan:
    """Change columns of a cpool. Raises NothingChanges and what `check` does."""
    cpool = cpools.find_ready(session, tenant_id, cpool_id)
    if not changes:
        raise NothingChanges(cpool.name, ", ".join(FIELDS))
    check(session, world, cpool, changes)
    return Plan(
        kind="cpool.update",
        description=f"Change cpool {cpool.name}",
        arguments={"cpool_id": cpool.id, "changes": dict(changes)},
        locks=(cpools.lock(cpool.id),),
        concerned=(Item(cpool.id, "host_cluster"),),
    )


def check(session: Session, world: World, cpool: Cpool, changes: Mapping[str, Any], *, leaving: int = 0) -> None:
    """Whether the cpool can be as `changes` say, with `leaving` blades fewer. Raises PoolMemory, PoolSetting, PoolShrink."""
    model = cpools.model_of(world, cpool.model)
    blades = len(cpools.blades_of(session, [cpool.id])) - leaving
    memory = changes.get("memory", cpool.memory)
    overcommit = changes.get("memory_overcommit", cpool.memory_overcommit)
    rate = changes.get("vcpu_rate", cpool.vcpu_rate)
    rules.check_overcommit(cpool.name, overcommit)
    rules.check_vcpu_rate(cpool.name, rate, cores=model.cores)
    if "memory" in changes:
        floor, ceiling = memory_floor(model, blades), memory_ceiling(model, blades)
        rules.check_memory(cpool.model, blades, memory, floor=floor, ceiling=ceiling)
    if leaving or overcommit < cpool.memory_overcommit:
        hooks.check_shrinking(session, cpool, blades, overcommit)
    lent = rules.lent_memory(memory, overcommit)
    if lent < rules.lent_memory(cpool.memory, cpool.memory_overcommit):
        running = [(machine.name, machine.reserved) for machine in _running(session, cpool.id)]
        used = choosing.used(session, cpool.id)
        rules.check_remaining(cpool.name, "The memory for machines", allowed=lent, used=used, machines=running)
    _check_blades(session, cpool, rules.lent_memory(model.physical_memory, overcommit), model.cores, rate)


def _check_blades(session: Session, cpool: Cpool, memory: int, cores: int, rate: int | None) -> None:
    """Each blade keeps what it carries, under the new rates."""
    limit = rules.vcpu_limit(cores, rate)
    loads = sa.select(BladeLoad).join(Blade, Blade.name == BladeLoad.blade).where(Blade.cpool_id == cpool.id)
    for load in session.scalars(loads.order_by(BladeLoad.blade)):
        there = [machine for machine in _running(session, cpool.id) if load.blade in (machine.blade, machine.moving_to)]
        shares = [(machine.name, machine.reserved) for machine in there]
        what = f"The memory for machines of blade {load.blade}"
        rules.check_remaining(cpool.name, what, allowed=memory, used=load.memory, machines=shares)
        if limit is not None:
            vcpus = [(machine.name, machine.cpu) for machine in there]
            what = f"The number of vCPUs on blade {load.blade}"
            rules.check_remaining(cpool.name, what, allowed=limit, used=load.vcpus, machines=vcpus, sized=False)


def _running(session: Session, cpool_id: str) -> list[VirtualMachine]:
    query = sa.select(VirtualMachine).where(VirtualMachine.cpool_id == cpool_id, VirtualMachine.reserved > 0)
    return list(session.scalars(query.order_by(VirtualMachine.name)))


# --------------------------------------------------------------------------------------------------------------- blades


def _locks(session: Session, cpool_id: str) -> tuple[Lock, ...]:
    """The cpool for itself, so that no machine of it starts or moves meanwhile, and its VLANs, whose blades change."""
    carried = session.scalars(sa.select(Propagation.vlan_id).where(Propagation.cpool_id == cpool_id))
    return (cpools.lock(cpool_id), *(vlans.lock(vlan_id) for vlan_id in sorted(carried)))


def plan_join(
    session: Session, world: World, tenant_id: str, cpool_id: str, count: int, memory: int | None = None
) -> Plan:
    """Free blades of the cpool's model and zone join it. memory: bytes enabled afterwards, by default with what each blade brings.

    Raises BladeCount, BladesMissing, PoolMemory.
    """
    cpool = cpools.find_ready(session, tenant_id, cpool_id)
    choose_joining(session, world, cpool, count, memory)
    return Plan(
        kind="cpool.join",
        description=f"Add {count} blade(s) to cpool {cpool.name}",
        arguments={"cpool_id": cpool.id, "count": count, "memory": memory},
        locks=_locks(session, cpool.id),
        concerned=(Item(cpool.id, "host_cluster"),),
    )


def choose_joining(
    session: Session, world: World, cpool: Cpool, count: int, memory: int | None
) -> tuple[list[str], int]:
    """The blades that would join, and the bytes enabled afterwards."""
    model, before = cpools.model_of(world, cpool.model), len(cpools.blades_of(session, [cpool.id]))
    if count < 1:
        rules.check_blade_count(count, maximum=world.blades.maximum_blades_per_cpool - before)
    rules.check_blade_count(before + count, maximum=world.blades.maximum_blades_per_cpool)
    free = sa.select(Blade.name).where(Blade.zone == cpool.zone, Blade.model == cpool.model, Blade.cpool_id.is_(None))
    chosen = rules.choose_blades(cpool.zone, cpool.model, list(session.scalars(free)), count)
    floor, ceiling = memory_floor(model, before + count), memory_ceiling(model, before + count)
    if memory is None:
        memory = rules.joined_memory(cpool.memory, before=before, count=count, floor=floor, ceiling=ceiling)
    rules.check_memory(cpool.model, before + count, memory, floor=floor, ceiling=ceiling)
    return chosen, memory


def plan_leave(
    session: Session, world: World, tenant_id: str, cpool_id: str, blade_id: str, memory: int | None = None
) -> Plan:
    """A blade that carries no running machine leaves. Raises Unknown, BladeCount, BladeInUse, PoolMemory, PoolShrink."""
    cpool = cpools.find_ready(session, tenant_id, cpool_id)
    blade = session.get(Blade, blade_id)
    if blade is None or blade.cpool_id != cpool.id:
        raise Unknown("blade", blade_id)
    check_leaving(session, world, cpool, blade.name, memory)
    return Plan(
        kind="cpool.leave",
        description=f"Take blade {blade.name} out of cpool {cpool.name}",
        arguments={"cpool_id": cpool.id, "blade": blade.name, "memory": memory},
        locks=_locks(session, cpool.id),
        concerned=(Item(cpool.id, "host_cluster"), Item(blade.id, "host")),
    )


def check_leaving(session: Session, world: World, cpool: Cpool, blade: str, memory: int | None) -> int:
    """The bytes enabled when the blade has left."""
    model, before = cpools.model_of(world, cpool.model), len(cpools.blades_of(session, [cpool.id]))
    rules.check_blade_count(before - 1, maximum=world.blades.maximum_blades_per_cpool)
    there = [machine.name for machine in _running(session, cpool.id) if blade in (machine.blade, machine.moving_to)]
    if there:
        raise BladeInUse(blade, cpool.name, len(there), listing(there))
    floor, ceiling = memory_floor(model, before - 1), memory_ceiling(model, before - 1)
    if memory is None:
        memory = rules.left_memory(cpool.memory, before=before, floor=floor, ceiling=ceiling)
    check(session, world, cpool, {"memory": memory}, leaving=1)
    return memory
