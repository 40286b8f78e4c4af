"""GPUs of blades, and how many a machine is given, over HTTP."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from pydantic import Field

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.compute import machines, maintenance, rules
from naos.compute.errors import GpusMissing
from naos.compute.models import MachineGpus, VirtualMachine
from naos.fleet import gpus
from naos.fleet.models import Blade
from naos.identity import Identity
from naos.wire import Reference, Request, Wire

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Planner = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


class GpuWire(Wire):
    """`virtual_machine`: which holds it, from its start to its stop."""

    address: str
    name: str
    virtual_machine: Reference | None


class MachineGpusWire(Wire):
    """`count`: how many it is given at its start. `held`: those that it has now."""

    count: int
    held: list[GpuWire]


class GpuCount(Request):
    count: Annotated[int, Field(strict=True, ge=0, le=16)]


@router.get("/hosts/{blade_id}/gpus")
def list_gpus(blade_id: ResourceId, identity: Planner, services: ServicesOf) -> list[GpuWire]:
    """The GPUs of a blade."""
    with services.database.read() as session:
        blade, _cpool = maintenance.find(session, identity.tenant_id, blade_id)
        found = gpus.of_blade(session, blade.name)
        query = sa.select(VirtualMachine.id, VirtualMachine.name)
        rows = session.execute(query.where(VirtualMachine.id.in_([row.machine_id for row in found if row.machine_id])))
        names = {machine_id: Reference(id=machine_id, name=name) for machine_id, name in rows}
        return [
            GpuWire(address=row.address, name=row.name, virtual_machine=names.get(row.machine_id or ""))
            for row in found
        ]


@router.get("/virtual_machines/{machine_id}/gpus")
def read_machine_gpus(machine_id: ResourceId, identity: Reader, services: ServicesOf) -> MachineGpusWire:
    """How many GPUs a machine is given."""
    with services.database.read() as session:
        machine = machines.find(session, identity.tenant_id, machine_id)
        wanted = session.get(MachineGpus, machine.id)
        own = Reference(id=machine.id, name=machine.name)
        held = gpus.of_machine(session, machine.id)
        return MachineGpusWire(
            count=wanted.count if wanted is not None else 0,
            held=[GpuWire(address=row.address, name=row.name, virtual_machine=own) for row in held],
        )


@router.put("/virtual_machines/{machine_id}/gpus", status_code=204)
def change_machine_gpus(machine_id: ResourceId, body: GpuCount, identity: Manager, services: ServicesOf) -> None:
    """Give a stopped machine so many whole GPUs of its blade from its next start on. It does not move while it runs then."""
    with services.database.write() as session:
        machine = machines.find(session, identity.tenant_id, machine_id)
        rules.check_stopped(machine.name, machine.power, "GPUs are given at the start")
        most = _most(session, machine)
        if body.count > most:
            raise GpusMissing(machine.name, body.count, most)
        session.merge(MachineGpus(machine_id=machine.id, count=body.count))


def _most(session: sa.orm.Session, machine: VirtualMachine) -> int:
    """How many the best blade of its cpool has."""
    blades = session.scalars(sa.select(Blade.name).where(Blade.cpool_id == machine.cpool_id))
    return max((len(gpus.of_blade(session, blade)) for blade in blades), default=0)
