"""Tags on the wire (contract section 6.1)."""

from typing import Annotated

from pydantic import Field

from naos.ids import ResourceId
from naos.tags.models import Tag
from naos.wire import Request, Wire

MOST_RESOURCES = 100


class TaggedResource(Request):
    """An object to tag: ``{"uuid": ..., "type": "vcenter_virtual_machine", "source": "vmware"}``."""

    uuid: ResourceId
    type: str
    source: str


class TagCreation(Request):
    key: str
    value: str
    resources: Annotated[list[TaggedResource], Field(max_length=MOST_RESOURCES)]


class TagWire(Wire):
    """`tenant` and `resource` are ids."""

    key: str
    value: str
    tenant: str
    resource: str


def to_wire(tag: Tag) -> TagWire:
    return TagWire(key=tag.key, value=tag.value, tenant=tag.tenant_id, resource=tag.resource_id)
