"""Who may run: locks are granted in order of submission.

An activity may run when no unfinished activity with a lower sequence has a conflicting lock. All of an activity's locks are
known at submission and the sequence is a total order, so the lowest unfinished activity can always run: no deadlock, and
nobody is overtaken for ever.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from naos.activity.models import UNFINISHED, Activity, ActivityLock, State
from naos.activity.plan import Lock

SUBMISSION_LOCK = 0x6E616F73  # "naos": any number that nothing else in the database locks


def serialise(session: Session) -> None:
    """Let one check phase run at a time, over all controllers, until the session's transaction ends.

    So what a check found still holds when its activity is submitted, and the order of sequences is the order of commits.
    SQLite does this by itself: a write transaction is the only one.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(SUBMISSION_LOCK)))


def next_sequence(session: Session) -> int:
    """To be called under `serialise`."""
    return (session.scalar(sa.select(sa.func.max(Activity.sequence))) or 0) + 1


def merged(locks: Iterable[Lock]) -> tuple[Lock, ...]:
    """One lock a resource: exclusive where any of them is."""
    shared: dict[str, bool] = {}
    for lock in locks:
        shared[lock.resource] = shared.get(lock.resource, True) and lock.shared
    return tuple(Lock(resource, shared=value) for resource, value in shared.items())


def is_free(session: Session, locks: tuple[Lock, ...]) -> bool:
    """Would a new activity with these locks run at once?"""
    if not locks:
        return True
    held = session.execute(
        sa.select(ActivityLock.resource, ActivityLock.shared).where(
            ActivityLock.resource.in_([lock.resource for lock in locks])
        )
    )
    wanted = {lock.resource: lock.shared for lock in locks}
    return all(shared and wanted[resource] for resource, shared in held)


def startable(session: Session, *conditions: sa.ColumnElement[bool], limit: int) -> list[Activity]:
    """The waiting activities that may run and meet the conditions, first come first."""
    mine, other = aliased(ActivityLock), aliased(ActivityLock)
    blocked = (
        sa.select(sa.literal(1))
        .select_from(mine)
        .join(other, sa.and_(other.resource == mine.resource, other.sequence < mine.sequence))
        .where(mine.activity_id == Activity.id, sa.or_(sa.not_(mine.shared), sa.not_(other.shared)))
        .correlate(Activity)
        .exists()
    )
    return list(
        session.scalars(
            sa.select(Activity)
            .where(Activity.state == State.WAITING, ~blocked, *conditions)
            .order_by(Activity.sequence)
            .limit(limit)
        )
    )


def blocker(session: Session, activity: Activity) -> Activity | None:
    """The activity that a waiting one waits for: the last of those before it in the queue of one of its locks."""
    mine, other = aliased(ActivityLock), aliased(ActivityLock)
    return session.scalar(
        sa.select(Activity)
        .join(other, other.activity_id == Activity.id)
        .join(mine, sa.and_(other.resource == mine.resource, other.sequence < mine.sequence))
        .where(
            mine.activity_id == activity.id,
            Activity.state.in_(UNFINISHED),
            sa.or_(sa.not_(mine.shared), sa.not_(other.shared)),
        )
        .order_by(Activity.sequence.desc())
        .limit(1)
    )


def wanted_by_others(session: Session, activity_id: str) -> bool:
    """Does anybody wait for a lock that this activity holds?"""
    mine, other = aliased(ActivityLock), aliased(ActivityLock)
    return bool(
        session.scalar(
            sa.select(sa.literal(1))
            .select_from(mine)
            .join(other, sa.and_(other.resource == mine.resource, other.sequence > mine.sequence))
            .where(mine.activity_id == activity_id, sa.or_(sa.not_(mine.shared), sa.not_(other.shared)))
            .limit(1)
        )
    )


def requeue(session: Session, activity_id: str) -> int:
    """Move an activity and its locks to the end of the queue; to be called under `serialise`. Returns its new sequence."""
    sequence = next_sequence(session)
    session.execute(sa.update(Activity).where(Activity.id == activity_id).values(sequence=sequence))
    session.execute(sa.update(ActivityLock).where(ActivityLock.activity_id == activity_id).values(sequence=sequence))
    return sequence


def release(session: Session, activity_id: str) -> None:
    session.execute(sa.delete(ActivityLock).where(ActivityLock.activity_id == activity_id))
