"""What the check phase of a request hands to the do phase. Plain values: areas build them, the engine reads them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lock:
    """A resource that an activity holds from its submission to its end, e.g. ``virtual_machine:<id>``.

    Shared locks on one resource are held together; an exclusive one is held alone.
    """

    resource: str
    shared: bool = False


@dataclass(frozen=True)
class Item:
    """An object that an activity concerns, as the wire names it; the created (or changed) object comes first."""

    id: str
    type: str


@dataclass(frozen=True)
class Undo:
    """A compensation: the registered `name`, JSON `arguments`, and what to tell the user once it is done
    ("removed disk web-1")."""

    name: str
    arguments: dict[str, Any]
    description: str


@dataclass(frozen=True)
class Plan:
    """An activity to run: `kind` names the registered workflow, `arguments` are JSON.

    locks: taken in order of submission, so two activities never wait for each other.
    undo: what the check itself left behind (reserved rows), in the order in which it was left; undone last.
    preemptible: background work that gives its locks up, at a step's end, to whoever waits for them.
    """

    kind: str
    description: str
    arguments: dict[str, Any]
    locks: tuple[Lock, ...] = ()
    concerned: tuple[Item, ...] = ()
    type: str = "ComputeActivity"
    undo: tuple[Undo, ...] = ()
    tags: tuple[str, ...] = ()
    preemptible: bool = False


@dataclass(frozen=True)
class Caller:
    """Who asks. `fingerprint`: a digest of the request, to tell a repeated request from another one under the same key."""

    tenant_id: str
    actor_id: str
    idempotency_key: str | None = None
    fingerprint: str | None = None
