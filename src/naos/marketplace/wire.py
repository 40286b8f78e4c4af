"""The marketplace on the wire (wire-API section 6.2), and what publishes an item."""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from naos.catalogue.models import Template, TemplateDisk
from naos.catalogue.ovf import properties
from naos.catalogue.ovf.descriptor import Descriptor
from naos.compute.deployment import DEFAULT_CPU, default_memory
from naos.compute.deployment_wire import DeployOption
from naos.ids import ResourceId
from naos.marketplace.models import MarketplaceItem
from naos.names import Name
from naos.wire import Request, Wire

TYPE = "Virtual Machine Image"
_ICON = re.compile(r"https://[^\s\"'<>]{1,2000}|data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")
LARGEST_ICON = 256 * 1024


class Details(Wire):
    overview: str
    how_to_use: str
    support: str
    terms_and_conditions: str


class Target(Wire):
    key: str
    name: str
    skus: list[str]
    files: list[str]


class DeploymentOptions(Wire):
    targets: list[Target]


class Item(Wire):
    id: str
    name: str
    editor: str
    icon: str
    description: str
    description_en: str
    creation_date: str
    last_update: str
    categories: list[str]
    type: str
    version: str
    build: str
    details: Details
    details_en: Details
    deployment_options: DeploymentOptions


class Processors(Wire):
    count: int
    num_cores_per_socket: int


class OperatingSystem(Wire):
    id: str
    name: str


class InfoAdapter(Wire):
    name: str
    network_name: str
    type: str


class InfoController(Wire):
    id: str
    name: str
    type: str
    sub_type: str


class InfoDisk(Wire):
    name: str
    capacity: int
    controller_id: str
    populated_size: int


class ExtraConfig(Wire):
    """`key`: what a deploy option names; `value`: its default; `required`: no machine is made without a value."""

    key: str
    value: str
    required: bool


class Info(Wire):
    """Sizes in bytes."""

    name: str
    cpu: Processors
    memory: int
    operating_system: OperatingSystem
    hardware_version: str
    network_adapters: list[InfoAdapter]
    controllers: list[InfoController]
    disks: list[InfoDisk]
    extra_config: list[ExtraConfig]


class Texts(Request):
    """Markdown."""

    overview: str = Field(default="", max_length=64 * 1024)
    how_to_use: str = Field(default="", max_length=64 * 1024)
    support: str = Field(default="", max_length=64 * 1024)
    terms_and_conditions: str = Field(default="", max_length=64 * 1024)


def _checked_icon(icon: str) -> str:
    if icon and not _ICON.fullmatch(icon):
        raise ValueError("an icon is an https address, or a PNG, JPEG, GIF or WebP image as a data address")
    return icon


Icon = Annotated[str, AfterValidator(_checked_icon), Field(max_length=LARGEST_ICON)]
Short = Annotated[str, Field(max_length=64)]
Description = Annotated[str, Field(max_length=4096)]


class Publication(Request):
    content_library_item_id: ResourceId
    name: Name
    editor: Name
    version: Short = Field(min_length=1)
    build: Short = ""
    icon: Icon = ""
    description: Description = ""
    description_en: Description = ""
    categories: list[Short] = Field(default_factory=list, max_length=16)
    details: Texts = Texts()
    details_en: Texts = Texts()


class Changes(Request):
    """What is left out stays."""

    name: Name | None = None
    editor: Name | None = None
    version: Short | None = Field(default=None, min_length=1)
    build: Short | None = None
    icon: Icon | None = None
    description: Description | None = None
    description_en: Description | None = None
    categories: list[Short] | None = Field(default=None, max_length=16)
    details: Texts | None = None
    details_en: Texts | None = None


class NetworkMapping(Request):
    """Exactly one of the two names what is mapped."""

    source_network_name: str | None = Field(default=None, max_length=255)
    network_adapter_name: str | None = Field(default=None, max_length=255)
    destination_network_id: ResourceId

    @model_validator(mode="after")
    def _one(self) -> "NetworkMapping":
        if bool(self.source_network_name) == bool(self.network_adapter_name):
            raise ValueError("give either sourceNetworkName or networkAdapterName")
        return self


class MarketplaceDeployment(Request):
    """Hardware comes from the item. `power_on` is naos' own."""

    id: ResourceId
    name: Name
    datacenter_id: ResourceId | None = None
    host_cluster_id: ResourceId | None = None
    host_id: str | None = Field(default=None, max_length=255)
    datastore_id: ResourceId
    network_data: list[NetworkMapping] = Field(default_factory=list, max_length=64)
    deploy_options: list[DeployOption] = Field(default_factory=list, max_length=600)
    power_on: bool = False


def item_wire(item: MarketplaceItem, template: Template) -> Item:
    """An offer as clients see it; `template` is what it deploys."""
    return Item(
        id=item.id,
        name=item.name,
        editor=item.editor,
        icon=item.icon,
        description=item.description,
        description_en=item.description_en,
        creation_date=item.created_at.isoformat(),
        last_update=item.updated_at.isoformat(),
        categories=item.categories,
        type=TYPE,
        version=item.version,
        build=item.build,
        details=Details(**item.details),
        details_en=Details(**item.details_en),
        deployment_options=DeploymentOptions(
            targets=[Target(key="vmware", name="VMware", skus=[], files=[f"{template.name}.{template.source}"])]
        ),
    )


def info_wire(item: MarketplaceItem, template: Template, disks: Sequence[TemplateDisk]) -> Info:
    """What a deployment of the offer makes, from the image behind it."""
    said = Descriptor.model_validate(template.descriptor)
    settable = [entry for entry in said.properties if entry.user_configurable]
    return Info(
        name=item.name,
        cpu=Processors(count=said.cpu or DEFAULT_CPU, num_cores_per_socket=said.cores_per_socket or 1),
        memory=said.memory or default_memory(said),
        operating_system=OperatingSystem(id=said.system_id, name=said.system_name),
        hardware_version=said.hardware_version,
        network_adapters=[
            InfoAdapter(name=entry.name, network_name=entry.network, type=entry.type) for entry in said.adapters
        ],
        controllers=[
            InfoController(id=entry.id, name=entry.name, type=entry.type, sub_type=entry.sub_type)
            for entry in said.controllers
        ],
        disks=[
            InfoDisk(
                name=disk.name, capacity=disk.capacity, controller_id=disk.controller, populated_size=disk.populated
            )
            for disk in disks
        ],
        extra_config=[
            ExtraConfig(key=entry.key, value=entry.default, required=properties.needs_value(entry))
            for entry in settable
        ],
    )
