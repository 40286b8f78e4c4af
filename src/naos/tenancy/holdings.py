"""What a tenant has, in the words of the areas that know: each registers its kinds of objects here.

Tenancy asks before it deletes a tenant or takes a feature from it, and tells the areas when a tenant begins and ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from naos.names import listing

SHOWN = 5
"""How many names of a kind a refusal lists."""


def _nothing(_session: Session, _tenant_id: str) -> None:
    pass


def _no_names(_session: Session, _tenant_id: str) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Holding:
    """A kind of object that tenants have.

    kind: what people call several of them. feature: the one that their management belongs to.
    names: those of a tenant, in whatever state; they stand in the way of its deletion.
    prepare: makes what a new tenant has from its beginning. clear: takes away, with the tenant, what names leaves out.
    """

    kind: str
    feature: str
    names: Callable[[Session, str], Sequence[str]] = _no_names
    prepare: Callable[[Session, str], None] = _nothing
    clear: Callable[[Session, str], None] = _nothing


_holdings: dict[str, Holding] = {}


def register(holding: Holding) -> None:
    """Make a kind known; a later one takes an earlier one's place."""
    _holdings[holding.kind] = holding


def contents(session: Session, tenant_id: str, feature: str | None = None) -> dict[str, list[str]]:
    """Names of what the tenant has, by kind: of one feature, or of all. Kinds of which there is none are left out."""
    asked = [holding for holding in _holdings.values() if feature in (None, holding.feature)]
    found = {holding.kind: sorted(holding.names(session, tenant_id)) for holding in asked}
    return {kind: names for kind, names in found.items() if names}


def shown(found: dict[str, list[str]]) -> str:
    """``2 machines (web-1, web-2) and 1 VLANs (front)``."""
    parts = [f"{len(names)} {kind} ({listing(names, most=SHOWN)})" for kind, names in found.items()]
    return " and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def prepare(session: Session, tenant_id: str) -> None:
    """Make what a new tenant has from its beginning."""
    for holding in _holdings.values():
        holding.prepare(session, tenant_id)


def clear(session: Session, tenant_id: str) -> None:
    """Take away what an empty tenant still has."""
    for holding in reversed(_holdings.values()):
        holding.clear(session, tenant_id)
