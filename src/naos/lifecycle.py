"""The life of every object that an activity makes, as one table.

`creating` and `deleting` are transitional: an object is in them only while its activity is unfinished. A volume that keeps the
copy of another one is a `replica` until it is taken over; nothing else is placed on it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.errors import NaosError


class Lifecycle(StrEnum):
    CREATING = "creating"
    ACTIVE = "active"
    REPLICA = "replica"
    DELETING = "deleting"


TRANSITIONS: dict[Lifecycle, tuple[Lifecycle, ...]] = {
    Lifecycle.CREATING: (Lifecycle.ACTIVE, Lifecycle.REPLICA),
    Lifecycle.REPLICA: (Lifecycle.ACTIVE,),
    Lifecycle.ACTIVE: (Lifecycle.DELETING,),
    Lifecycle.DELETING: (Lifecycle.ACTIVE,),
}
TRANSITIONAL = (Lifecycle.CREATING, Lifecycle.DELETING)


@dataclass(eq=False)
class NotReady(NaosError):
    """`kind` with a capital; `state`: created or deleted."""

    code: ClassVar[str] = "naos.not_ready"
    status: ClassVar[int] = 409
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "{kind} {name!r} is still being {state}; wait for its activity to end, then try again or choose another."
    )
    kind: str
    name: str
    state: str


@dataclass(eq=False)
class IsReplica(NaosError):
    code: ClassVar[str] = "naos.is_replica"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{kind} {name!r} is kept as the replica of another one, and nothing else is done with it until that is lost; choose another."
    )
    kind: str
    name: str


def check_ready(kind: str, name: str, lifecycle: str) -> None:
    """Raises NotReady for what is on its way in or out: nothing new may lean on it; IsReplica."""
    if lifecycle == Lifecycle.REPLICA:
        raise IsReplica(kind, name)
    if lifecycle != Lifecycle.ACTIVE:
        raise NotReady(kind, name, "deleted" if lifecycle == Lifecycle.DELETING else "created")


def check_staying(kind: str, name: str, lifecycle: str) -> None:
    """Raises NotReady for what is on its way out; what is on its way in may be waited for."""
    if lifecycle == Lifecycle.DELETING:
        raise NotReady(kind, name, "deleted")


def keep(session: Session, table: type[Any], identifier: str) -> None:
    """A deletion that failed leaves a row that can be used, and deleted, again."""
    session.execute(
        sa.update(table)
        .where(table.id == identifier, table.lifecycle == Lifecycle.DELETING)
        .values(lifecycle=Lifecycle.ACTIVE)
    )
