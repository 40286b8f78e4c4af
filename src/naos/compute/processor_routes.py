"""The processor baseline of cpools over HTTP."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.compute.models import MachineProcessor, VirtualMachine
from naos.fleet import cpools, processors
from naos.identity import Identity
from naos.wire import Reference, Wire

router = APIRouter()

Planner = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]


class BladeExcess(Wire):
    """What a blade has beyond the baseline, which no guest is shown."""

    host: str
    beyond: list[str]


class OutdatedMachine(Wire):
    """A running machine whose guest was shown more than the baseline has now: until it starts anew, `hosts` cannot take it over."""

    virtual_machine: Reference
    beyond: list[str]
    hosts: list[str]


class ProcessorWire(Wire):
    """`model` is empty and `features` are none before a blade was asked."""

    host_cluster: Reference
    model: str
    features: list[str]
    hosts: list[BladeExcess]
    outdated: list[OutdatedMachine]


@router.get("/host_clusters/{cpool_id}/processor")
def read_processor(cpool_id: ResourceId, identity: Planner, services: ServicesOf) -> ProcessorWire:
    """What the guests of a cpool are shown at their start: what every one of its blades has."""
    with services.database.read() as session:
        cpool = cpools.find(session, identity.tenant_id, cpool_id)
        found, blades = processors.of_pool(session, cpool.id), processors.of_blades(session, cpool.id)
        features = set(found.features) if found is not None else set()
        rows = session.execute(
            sa.select(VirtualMachine.id, VirtualMachine.name, MachineProcessor.features)
            .join(MachineProcessor, MachineProcessor.machine_id == VirtualMachine.id)
            .where(VirtualMachine.cpool_id == cpool.id, VirtualMachine.reserved > 0)
            .order_by(VirtualMachine.name)
        )
        return ProcessorWire(
            host_cluster=Reference(id=cpool.id, name=cpool.name),
            model=found.model if found is not None else "",
            features=sorted(features),
            hosts=[BladeExcess(host=blade, beyond=sorted(has - features)) for blade, has in sorted(blades.items())],
            outdated=[
                OutdatedMachine(
                    virtual_machine=Reference(id=machine_id, name=name),
                    beyond=sorted(set(shown) - features),
                    hosts=sorted(blade for blade, has in blades.items() if not has.issuperset(shown)),
                )
                for machine_id, name, shown in rows
                if not features.issuperset(shown)
            ],
        )
