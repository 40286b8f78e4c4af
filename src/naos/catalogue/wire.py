"""Content libraries and templates on the wire."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from naos.catalogue.models import Template, TemplateDisk
from naos.catalogue.ovf.descriptor import Descriptor
from naos.ids import ResourceId
from naos.names import Name
from naos.units import MIB
from naos.wire import Reference, Request, Whole, Wire


class ContentLibrary(Wire):
    id: str
    name: str
    machine_manager: Reference
    datastore: Reference | None = None


class ItemDisk(Wire):
    """Sizes in bytes; `populated_size`: what the kept file takes."""

    name: str
    capacity: int
    populated_size: int
    controller_id: str


class ItemAdapter(Wire):
    """`id`, `name` and `network_name` may each stand for the adapter in a deployment's network data."""

    id: str
    name: str
    network_name: str
    type: str


class ItemProperty(Wire):
    """`id` is what a deploy option names; `value` the default."""

    id: str
    type: str
    qualifiers: str
    value: str
    user_configurable: bool
    required: bool
    password: bool
    label: str
    description: str
    category: str


class ContentLibraryItem(Wire):
    """`size`: bytes of the kept files; `virtual_size`: bytes of the first disk at least. `ovf_properties`: ids of the properties
    that a deployment may set. What follows it is naos' own; `warnings`: what should be thought about before machines are made of
    it; `cpu`, `memory` and `cores_per_socket` are 0 where the item does not say."""

    id: str
    name: str
    description: str
    type: str
    creation_time: datetime
    size: int
    last_modified_time: str
    ovf_properties: list[str]
    virtual_size: int
    checksum: str
    source: str
    status: str
    warnings: list[str]
    cpu: int
    cores_per_socket: int
    memory: int
    operating_system: str
    firmware: str
    disks: list[ItemDisk]
    network_adapters: list[ItemAdapter]
    properties: list[ItemProperty]


class Received(Wire):
    """An upload that a template can be made from."""

    id: str
    size: int
    sha256: str


class Hardware(Request):
    """What a machine of the item gets unless its deployment says otherwise; it goes before what an appliance says. `memory`:
    bytes. `networks`: names of the networks that its adapters are on, one each; an appliance keeps its own."""

    cpu: Whole | None = Field(default=None, ge=1, le=4096)
    memory: Whole | None = Field(default=None, ge=32 * MIB, multiple_of=MIB)
    networks: list[Name] = Field(default_factory=list, max_length=16)


class TemplateRequest(Request):
    """`checksum`: ``sha256:...``, ``sha512:...`` or ``md5:...`` of the file as it is sent."""

    name: Name
    description: str = Field(default="", max_length=4096)
    upload_id: ResourceId | None = None
    url: str | None = Field(default=None, max_length=2048)
    checksum: str | None = Field(default=None, max_length=160)
    hardware: Hardware = Hardware()


def item_wire(template: Template, disks: Sequence[TemplateDisk]) -> ContentLibraryItem:
    """An item as clients see it; `disks` are its own."""
    said = Descriptor.model_validate(template.descriptor)
    return ContentLibraryItem(
        id=template.id,
        name=template.name,
        description=template.description,
        type=template.type,
        creation_time=template.created_at,
        size=template.size,
        last_modified_time=template.updated_at.isoformat(),
        ovf_properties=[entry.key for entry in said.properties if entry.user_configurable],
        virtual_size=template.virtual_size,
        checksum=template.checksum,
        source=template.source,
        status=template.lifecycle,
        warnings=template.warnings,
        cpu=said.cpu,
        cores_per_socket=said.cores_per_socket,
        memory=said.memory,
        operating_system=said.system_name or said.system_id,
        firmware=said.firmware,
        disks=[
            ItemDisk(
                name=disk.name, capacity=disk.capacity, populated_size=disk.populated, controller_id=disk.controller
            )
            for disk in disks
        ],
        network_adapters=[
            ItemAdapter(id=entry.id, name=entry.name, network_name=entry.network, type=entry.type)
            for entry in said.adapters
        ],
        properties=[
            ItemProperty(
                id=entry.key,
                value=entry.default,
                **entry.model_dump(exclude={"key", "default", "product_class", "instance"}),
            )
            for entry in said.properties
        ],
    )
