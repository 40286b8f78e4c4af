"""Guests over HTTP: the systems that there are, which one a machine runs, and its customisation (wire-API sections 4.12, 4.13)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import configuration, guest_systems, machines
from naos.compute.configuration_errors import CustomisationRefused, PlaceForbidden
from naos.compute.configuration_wire import CustomizeGuest, GuestChange, GuestOperatingSystem
from naos.compute.customisation import NO_WINDOWS
from naos.compute.guest_systems import GuestSystem
from naos.fleet.models import Blade, Cpool
from naos.identity import Identity

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


def _unknown(session: Session, tenant_id: str, cpool_id: str | None, blade_id: str | None) -> tuple[str, str] | None:
    """Kind and id of a place that is not the tenant's."""
    own = sa.select(Cpool.id).where(Cpool.tenant_id == tenant_id)
    if cpool_id and session.scalar(own.where(Cpool.id == cpool_id)) is None:
        return "cpool", cpool_id
    if blade_id and session.scalar(sa.select(Blade.id).where(Blade.id == blade_id, Blade.cpool_id.in_(own))) is None:
        return "blade", blade_id
    return None


def _wire(found: GuestSystem) -> GuestOperatingSystem:
    return GuestOperatingSystem(moref=found.moref, family=found.family, full_name=found.full_name)


@router.get("/guest_operating_systems")
def list_guest_systems(
    identity: Reader,
    services: ServicesOf,
    hostId: str | None = None,  # noqa: N803 - the wire API's name
    hostClusterId: str | None = None,  # noqa: N803
    osFamily: str | None = None,  # noqa: N803
    version: str | None = None,
) -> list[GuestOperatingSystem]:
    """The systems that machines can be said to run. Every blade runs them all; `version` is the hardware's, as machines show it."""
    with services.database.read() as session:
        if _unknown(session, identity.tenant_id, hostClusterId, hostId) is not None:
            return []
    if version not in (None, "", guest_systems.HARDWARE):
        return []
    return [
        _wire(found)
        for found in guest_systems.guest_systems().values()
        if not osFamily or found.family.lower() == osFamily.lower()
    ]


@router.get("/guest_operating_systems/{moref}")
def read_guest_system(
    moref: str,
    identity: Reader,
    services: ServicesOf,
    hostId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
) -> GuestOperatingSystem:
    """One system. A cpool or blade that is not the tenant's is refused with 403, as clients expect it here."""
    with services.database.read() as session:
        foreign = _unknown(session, identity.tenant_id, hostClusterId, hostId)
    if foreign is not None:
        raise PlaceForbidden(*foreign)
    return _wire(guest_systems.find(moref))


@router.patch("/virtual_machines/{machine_id}/guest", **ASYNCHRONOUS)
def set_guest(
    machine_id: ResourceId, body: GuestChange, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Which system the guest is. Windows gets the local time from its clock, and the hypervisor's help where there is KVM."""
    moref = body.guest_operating_system_moref
    return submit(
        services,
        identity,
        key,
        lambda session: configuration.plan_guest(session, identity.tenant_id, machine_id, moref),
    )


@router.patch("/virtual_machines/{machine_id}/guest/customize", **ASYNCHRONOUS)
def customise_guest(
    machine_id: ResourceId, body: CustomizeGuest, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Host name, name servers and addresses, which the guest takes in at its next start. The machine is off."""

    def check(session: Session) -> Plan:
        if body.windows_config is not None:
            raise CustomisationRefused(machines.find(session, identity.tenant_id, machine_id).name, NO_WINDOWS)
        return configuration.plan_customise(session, identity.tenant_id, machine_id, body.wish())

    return submit(services, identity, key, check)
