"""Policies of a volume's space, its emergency reserve and its maintenance: plans, and the steps of their activities.

The reserve is space that nothing has. On a volume that has filled, where guests wait, it is given up; once there is room again it is
set aside again.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan, Undo
from naos.errors import Unknown
from naos.insistence import insist
from naos.storage import luns, space
from naos.storage.models import ClusterMember, DatastoreCluster, Lun, LunSample, VolumePolicy
from naos.storage.space_errors import LastInService, NoReserve, ReserveTooLarge
from naos.units import size_text
from naos.world import World

LARGEST = 25  # per cent of the volume
STAYS_FREE = 10  # per cent, when a released reserve is set aside again


def plan_policy(
    session: Session,
    *,
    tenant_id: str,
    lun_id: str,
    headroom: int | None = None,
    snapshots: str | None = None,
    reserve: int | None = None,
    overcommitment: int | None = None,
) -> Plan:
    """overcommitment: per cent, 0 for no limit. What is None stays as it is. Raises Unknown, NotReady, ReserveTooLarge."""
    lun = luns.find_ready(session, tenant_id, lun_id)
    most = lun.capacity * LARGEST // 100
    if reserve is not None and reserve > most:
        raise ReserveTooLarge(lun.name, size_text(reserve), size_text(lun.capacity), size_text(most), LARGEST)
    return Plan(
        kind="lun.policy",
        description=f"Set how space is kept on volume {lun.name}",
        arguments={
            "lun_id": lun_id,
            "headroom": headroom,
            "snapshots": snapshots,
            "reserve": reserve,
            "overcommitment": overcommitment,
        },
        locks=(luns.lock(lun_id),),
        concerned=(Item(lun_id, "datastore"),),
    )


def plan_release(session: Session, *, tenant_id: str, lun_id: str) -> Plan:
    """Raises Unknown, NotReady, NoReserve."""
    lun = luns.find_ready(session, tenant_id, lun_id)
    policy = space.policy_of(session, lun_id)
    if not policy.reserve or policy.released:
        raise NoReserve(lun.name, "it was released already" if policy.reserve else "none is configured")
    return Plan(
        kind="lun.release_reserve",
        description=f"Release the emergency reserve of volume {lun.name}, {size_text(policy.reserve)}",
        arguments={"lun_id": lun_id},
        locks=(luns.lock(lun_id, shared=True),),
        concerned=(Item(lun_id, "datastore"),),
    )


def may_return(session: Session, lun_id: str) -> bool:
    """Whether a released reserve fits again, with room to spare."""
    policy, sample = space.policy_of(session, lun_id), session.get(LunSample, lun_id)
    lun = session.get(Lun, lun_id)
    if lun is None or sample is None or not sample.reachable or not policy.released:
        return False
    return sample.free - policy.reserve >= lun.capacity * STAYS_FREE // 100


def plan_return(session: Session, lun_id: str) -> Plan:
    """Set a released reserve aside again."""
    lun = session.get(Lun, lun_id)
    if lun is None:
        raise Unknown("volume", lun_id)
    policy = space.policy_of(session, lun_id)
    return Plan(
        kind="lun.policy",
        description=f"Set the emergency reserve of volume {lun.name} aside again",
        arguments={"lun_id": lun_id, "reserve": policy.reserve},
        locks=(luns.lock(lun_id),),
        concerned=(Item(lun_id, "datastore"),),
    )


def plan_maintenance(session: Session, *, tenant_id: str, lun_id: str, enter: bool) -> Plan:
    """From now on nothing new is placed on the volume, or is again. Raises Unknown, NotReady, LastInService."""
    lun = luns.find_ready(session, tenant_id, lun_id)
    if enter:
        _check_others(session, lun)
    space.changed(session, lun_id).maintenance = enter
    word = "Begin" if enter else "End"
    return Plan(
        kind="lun.maintenance",
        description=f"{word} maintenance of volume {lun.name}",
        arguments={"lun_id": lun_id},
        concerned=(Item(lun_id, "datastore"),),
    )


def _check_others(session: Session, lun: Lun) -> None:
    member = session.get(ClusterMember, lun.id)
    if member is None:
        return
    resting = sa.select(VolumePolicy.lun_id).where(VolumePolicy.maintenance.is_(True))
    others = sa.select(ClusterMember.lun_id).where(
        ClusterMember.cluster_id == member.cluster_id,
        ClusterMember.lun_id != lun.id,
        ClusterMember.lun_id.not_in(resting),
    )
    if session.scalar(others.limit(1)) is None:
        raise LastInService(lun.name, session.get_one(DatastoreCluster, member.cluster_id).name)


# ---------------------------------------------------------------------------------------------------------------- steps


def keep(world: World, lun_id: str, size: int, released: bool) -> None:  # noqa: FBT001 - of a step
    """Bring the reserve to `size` bytes, or to none while it is released. Raises NoSpace."""
    array, _ = luns.spec(world, lun_id)
    if size and not released:
        world.rack.array(array).set_aside(lun_id, lun_id, size)
    else:
        insist(world.rack.array(array).give_back, lun_id, lun_id)


def note(world: World, lun_id: str, **values: Any) -> None:
    with world.database.write() as session:
        row = space.changed(session, lun_id)
        for name, value in values.items():
            setattr(row, name, value)


def as_noted(world: World, lun_id: str) -> None:
    """Bring the reserve to what the tables say of it."""
    with world.database.read() as session:
        policy = space.policy_of(session, lun_id)
    keep(world, lun_id, policy.reserve, policy.released)


def undo_of(lun_id: str) -> Undo:
    return Undo("lun.reserve_as_noted", {"lun_id": lun_id}, "left the emergency reserve as it was")
