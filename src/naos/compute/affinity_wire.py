"""Affinity rules on the wire."""

from typing import Annotated, Any, Literal

from pydantic import Field

from naos.compute.affinity import Shown
from naos.ids import ResourceId
from naos.names import Name
from naos.wire import Reference, Request, Wire

Kind = Literal["affinity", "anti-affinity"]
Machines = Annotated[list[ResourceId], Field(max_length=256)]


class AffinityRuleWire(Wire):
    """`type`: `affinity` keeps machines on one blade, `anti-affinity` each on another. `must`: a machine that would break it does
    not start or move. `broken`: the running machines are not as the rule says at this moment."""

    id: str
    name: str
    type: str
    enabled: bool
    must: bool
    host_cluster: Reference
    virtual_machines: list[Reference]
    broken: bool


class RuleCreation(Request):
    name: Name
    type: Kind
    host_cluster_id: ResourceId
    virtual_machine_ids: Machines = Field(description="At least two machines of the cpool.")
    enabled: bool = True
    must: bool = True


class RuleChange(Request):
    """What is left out stays as it is."""

    name: Name = ""
    virtual_machine_ids: Machines = Field(default=[], description="All of its machines.")
    enabled: bool = True
    must: bool = True

    def values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("name", "enabled", "must") if name in self.model_fields_set}

    def machine_ids(self) -> list[str] | None:
        return list(self.virtual_machine_ids) if "virtual_machine_ids" in self.model_fields_set else None


def rule_wire(found: Shown) -> AffinityRuleWire:
    rule = found.rule
    return AffinityRuleWire(
        id=rule.id,
        name=rule.name,
        type=rule.kind,
        enabled=rule.enabled,
        must=rule.must,
        host_cluster=Reference(id=found.cpool.id, name=found.cpool.name),
        virtual_machines=[Reference(id=machine.id, name=machine.name) for machine in found.machines],
        broken=found.broken,
    )
