"""From where the session's tenant takes calls: `/iam/v2/allowed_addresses`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.identity import Identity
from naos.tenancy import access, wire
from naos.tenancy import administration_wire as own
from naos.tenancy.dependencies import AuthorityOf

router = APIRouter(prefix="/allowed_addresses")

Reader = Annotated[Identity, Depends(require("console_public_access_read"))]
Writer = Annotated[Identity, Depends(require("console_public_access_read", "console_public_access_write"))]


@router.get("")
def list_addresses(identity: Reader, services: ServicesOf) -> list[own.AddressWire]:
    """The networks that the tenant takes calls from; an empty list is everywhere."""
    with services.database.read() as session:
        return [own.address(entry) for entry in access.allowed(session, identity.tenant_id)]


@router.get("/{entry_id}")
def read_address(entry_id: ResourceId, identity: Reader, services: ServicesOf) -> own.AddressWire:
    """One of the networks that the tenant takes calls from."""
    with services.database.read() as session:
        return own.address(access.find(session, identity, entry_id))


@router.post("", status_code=201)
def add_address(
    body: own.AddressCreation, identity: Writer, services: ServicesOf, giver: AuthorityOf
) -> own.AddressWire:
    """Take calls from one more network. The first entry shuts everybody else out, which holds from the next call on."""
    with services.database.write() as session:
        entry = access.add(session, identity, body.cidr, body.description, force=body.force, now=giver.now())
        return own.address(entry)


@router.patch("/{entry_id}")
def describe_address(
    entry_id: ResourceId, body: own.AddressChange, identity: Writer, services: ServicesOf
) -> own.AddressWire:
    """Change the description of an entry."""
    with services.database.write() as session:
        return own.address(access.describe(session, identity, entry_id, body.description))


@router.delete("/{entry_id}")
def remove_address(
    entry_id: ResourceId, identity: Writer, services: ServicesOf, *, force: bool = False
) -> wire.Deleted:
    """Take no more calls from a network. After the last one calls are taken from everywhere."""
    with services.database.write() as session:
        access.remove(session, identity, entry_id, force=force)
    return wire.Deleted(id=entry_id)
