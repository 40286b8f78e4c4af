"""Affinity rules over HTTP. Every call has taken effect when it answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.compute import affinity
from naos.compute.affinity_wire import AffinityRuleWire, RuleChange, RuleCreation, rule_wire
from naos.compute.models import AffinityMember, AffinityRule
from naos.identity import Identity

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Writer = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.get("/affinity_rules")
def list_affinity_rules(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    hostClusterId: str | None = None,  # noqa: N803 - the wire API's name
    virtualMachineId: str | None = None,  # noqa: N803
) -> list[AffinityRuleWire]:
    """The rules between the tenant's machines; filters are combined, an unknown id matches nothing."""
    query = affinity.rules_of(identity.tenant_id)
    if name is not None:
        query = query.where(AffinityRule.name == name)
    if hostClusterId is not None:
        query = query.where(AffinityRule.cpool_id == hostClusterId)
    if virtualMachineId is not None:
        joined = AffinityRule.id == AffinityMember.rule_id
        query = query.join(AffinityMember, joined).where(AffinityMember.machine_id == virtualMachineId)
    with services.database.read() as session:
        return [rule_wire(found) for found in affinity.shown(session, list(session.scalars(query)))]


@router.get("/affinity_rules/{rule_id}")
def read_affinity_rule(rule_id: ResourceId, identity: Reader, services: ServicesOf) -> AffinityRuleWire:
    """One rule."""
    with services.database.read() as session:
        (found,) = affinity.shown(session, [affinity.find(session, identity.tenant_id, rule_id)])
        return rule_wire(found)


@router.post("/affinity_rules", status_code=201)
def create_affinity_rule(body: RuleCreation, identity: Writer, services: ServicesOf) -> AffinityRuleWire:
    """Make a rule. It holds from the next start or move of its machines on; running ones are left where they are."""
    with services.database.write() as session:
        rule = affinity.create(
            session,
            services.world,
            identity.tenant_id,
            cpool_id=body.host_cluster_id,
            name=body.name,
            kind=body.type,
            machine_ids=body.virtual_machine_ids,
            enabled=body.enabled,
            must=body.must,
        )
        (found,) = affinity.shown(session, [rule])
        return rule_wire(found)


@router.patch("/affinity_rules/{rule_id}")
def change_affinity_rule(
    rule_id: ResourceId, body: RuleChange, identity: Writer, services: ServicesOf
) -> AffinityRuleWire:
    """Change a rule's name, machines or strength, or switch it on or off."""
    with services.database.write() as session:
        rule = affinity.find(session, identity.tenant_id, rule_id)
        affinity.change(session, services.world, rule, body.values(), body.machine_ids())
        (found,) = affinity.shown(session, [rule])
        return rule_wire(found)


@router.delete("/affinity_rules/{rule_id}", status_code=204)
def delete_affinity_rule(rule_id: ResourceId, identity: Writer, services: ServicesOf) -> Response:
    """Delete a rule."""
    with services.database.write() as session:
        affinity.remove(session, affinity.find(session, identity.tenant_id, rule_id))
    return Response(status_code=204)
