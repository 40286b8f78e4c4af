"""From where a tenant takes calls: its list of networks. An empty list is everywhere.

The list is looked at on every call of the tenant's sessions and when a token logs in. Whoever changes it is not locked out
by mistake: that has to be forced.
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity.locks import serialise
from naos.addresses import contains, parse_address, parse_network
from naos.errors import Unknown
from naos.identity import Identity
from naos.names import clean_name, listing
from naos.tenancy import members
from naos.tenancy.errors import AddressRefused, CallerLockedOut, NetworkInvalid, NetworkListed, NetworksTooMany
from naos.tenancy.models import AllowedAddress

MOST = 100
NO_ADDRESS = "a connection without an address"
WRITE = "console_public_access_write"


def check(session: Session, tenant_id: str, address: str | None) -> None:
    """Raises AddressRefused for a call from an address that the tenant does not take calls from."""
    check_listed(",".join(_networks(session, tenant_id)), address)


def check_listed(networks: str | None, address: str | None) -> None:
    """As `check`, of the list with commas between. Raises AddressRefused."""
    if networks and not lets_in(networks.split(","), address):
        raise AddressRefused(address or NO_ADDRESS)


def lets_in(networks: list[str], address: str | None) -> bool:
    """Whether a list of networks takes calls from `address` (None: a connection that has none)."""
    if not networks:
        return True
    found = parse_address(address or "")
    return found is not None and contains(map(parse_network, networks), found)


def allowed(session: Session, tenant_id: str) -> list[AllowedAddress]:
    """The tenant's list, in the order in which it was written."""
    mine = sa.select(AllowedAddress).where(AllowedAddress.tenant_id == tenant_id)
    return list(session.scalars(mine.order_by(AllowedAddress.created_at, AllowedAddress.id)))


def find(session: Session, identity: Identity, entry_id: str) -> AllowedAddress:
    """Raises Unknown."""
    entry = session.get(AllowedAddress, entry_id)
    if entry is None or entry.tenant_id != identity.tenant_id:
        raise Unknown("allowed address", entry_id)
    return entry


def add(
    session: Session, identity: Identity, network: str, description: str, *, force: bool, now: datetime
) -> AllowedAddress:
    """Raises PermissionMissing, NetworkInvalid, NetworkListed, NetworksTooMany, CallerLockedOut, a name's errors."""
    caller = members.settled(session, identity, WRITE)
    text, present = normal_network(network), _networks(session, caller.tenant_id)
    if text in present:
        raise NetworkListed(text)
    if len(present) >= MOST:
        raise NetworksTooMany(MOST)
    _check_caller(caller, [*present, text], force=force)
    entry = AllowedAddress(
        tenant_id=caller.tenant_id, network=text, description=_description(description), created_at=now
    )
    session.add(entry)
    session.flush()
    return entry


def describe(session: Session, identity: Identity, entry_id: str, description: str) -> AllowedAddress:
    """Raises PermissionMissing, Unknown, a name's errors."""
    entry = find(session, members.settled(session, identity, WRITE), entry_id)
    entry.description = _description(description)
    session.flush()
    return entry


def remove(session: Session, identity: Identity, entry_id: str, *, force: bool) -> None:
    """Removing the last one lets calls in from everywhere. Raises PermissionMissing, Unknown, CallerLockedOut."""
    caller = members.settled(session, identity, WRITE)
    entry = find(session, caller, entry_id)
    left = [network for network in _networks(session, caller.tenant_id) if network != entry.network]
    _check_caller(caller, left, force=force)
    session.delete(entry)
    session.flush()


def open_to_all(session: Session, tenant_id: str) -> int:
    """The operator's way back in: empty the tenant's list; how many entries it had."""
    serialise(session)
    entries = allowed(session, tenant_id)
    for entry in entries:
        session.delete(entry)
    return len(entries)


def normal_network(text: str) -> str:
    """The network in its one spelling; a single address is one of its full length. Raises NetworkInvalid."""
    try:
        network = parse_network(text)
    except ValueError as error:
        raise NetworkInvalid(text[:64], str(error)[:200]) from error
    if network.version == 6 and network.network_address.ipv4_mapped is not None:
        raise NetworkInvalid(text[:64], "IPv4 inside IPv6 is looked at as IPv4; write it as such")
    return str(network)


def _networks(session: Session, tenant_id: str) -> list[str]:
    return [entry.network for entry in allowed(session, tenant_id)]


def _check_caller(caller: Identity, networks: list[str], *, force: bool) -> None:
    if not force and not lets_in(networks, caller.address):
        raise CallerLockedOut(listing(networks), caller.address or NO_ADDRESS)


def _description(text: str) -> str:
    return clean_name(text) if text.strip() else ""
