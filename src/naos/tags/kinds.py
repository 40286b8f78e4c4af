"""What can carry tags. Areas register their kinds when they are imported."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from naos.tags.errors import KindUnknown


@dataclass(frozen=True)
class Kind:
    """A kind of object that carries tags.

    type, source: as the wire names it, e.g. ``vcenter_virtual_machine`` of ``vmware``. noun: for sentences.
    check: raises Unknown when the tenant has no such object; otherwise holds it until the transaction ends, so that it is
    not deleted before the tag is written.
    """

    type: str
    source: str
    noun: str
    check: Callable[[Session, str, str], None]


_kinds: dict[tuple[str, str], Kind] = {}


def register(kind: Kind) -> None:
    """Make objects of a kind carry tags. They must call `forget` with what is deleted, after they deleted it."""
    _kinds[kind.type, kind.source] = kind


def find(type_: str, source: str) -> Kind:
    """Raises KindUnknown."""
    kind = _kinds.get((type_, source))
    if kind is None:
        known = ", ".join(f"{known.type} of source {known.source}" for known in _kinds.values())
        raise KindUnknown(type_[:100], source[:100], known or "none")
    return kind
