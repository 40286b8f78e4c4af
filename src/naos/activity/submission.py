"""How an accepted plan becomes rows, and how a repeated request finds the activity of the first one."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import locks
from naos.activity.errors import IdempotencyConflict, IdempotencyKeyInvalid
from naos.activity.models import Activity, ActivityLock, ActivityUndo, IdempotencyKey, State, now
from naos.activity.plan import Caller, Plan

LONGEST_KEY = 255


def check_key(caller: Caller) -> None:
    """Raises IdempotencyKeyInvalid."""
    key = caller.idempotency_key
    if key is not None and not 1 <= len(key) <= LONGEST_KEY:
        raise IdempotencyKeyInvalid(len(key))


def replayed(session: Session, caller: Caller) -> Activity | None:
    """The activity of an earlier request under this key. Raises IdempotencyConflict when that was another request.

    One that failed of something that may pass, and has undone what it left, is not an answer: the request may run again.
    """
    if caller.idempotency_key is None:
        return None
    known = session.get(IdempotencyKey, (caller.tenant_id, caller.idempotency_key))
    if known is None:
        return None
    if known.fingerprint != (caller.fingerprint or ""):
        raise IdempotencyConflict(caller.idempotency_key, known.activity_id)
    activity = session.get_one(Activity, known.activity_id)
    if activity.state == State.FAILED and activity.retryable:
        return None
    return activity


def insert(session: Session, plan: Plan, caller: Caller, *, build: str, controller_id: str) -> Activity:
    """The plan's rows; running at once when nobody holds its locks. To be called under `locks.serialise`."""
    wanted = locks.merged(plan.locks)
    free = locks.is_free(session, wanted)
    activity = Activity(
        sequence=locks.next_sequence(session),
        tenant_id=caller.tenant_id,
        actor_id=caller.actor_id,
        kind=plan.kind,
        description=plan.description,
        type=plan.type,
        tags=list(plan.tags),
        concerned=[{"id": item.id, "type": item.type} for item in plan.concerned],
        arguments=plan.arguments,
        locks=[{"resource": lock.resource, "shared": lock.shared} for lock in wanted],
        preemptible=plan.preemptible,
        state=State.RUNNING if free else State.WAITING,
        started_at=now() if free else None,
        build=build,
        controller_id=controller_id if free else None,
        attempt=1 if free else 0,
    )
    session.add(activity)
    session.flush()
    for lock in wanted:
        session.add(
            ActivityLock(
                activity_id=activity.id, resource=lock.resource, sequence=activity.sequence, shared=lock.shared
            )
        )
    for position, undo in enumerate(plan.undo):
        session.add(
            ActivityUndo(
                activity_id=activity.id,
                position=position,
                name=undo.name,
                arguments=undo.arguments,
                description=undo.description,
            )
        )
    if caller.idempotency_key is not None:
        session.merge(
            IdempotencyKey(
                tenant_id=caller.tenant_id,
                key=caller.idempotency_key,
                fingerprint=caller.fingerprint or "",
                activity_id=activity.id,
            )
        )
    session.flush()
    return activity


def is_unfinished(session: Session, plan: Plan) -> bool:
    """Does an activity of this kind with these arguments wait or run already?"""
    unfinished = sa.select(Activity.arguments).where(
        Activity.kind == plan.kind, Activity.state.in_((State.WAITING, State.RUNNING))
    )
    return any(arguments == plan.arguments for arguments in session.scalars(unfinished))
