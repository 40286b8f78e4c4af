"""Content libraries and templates on the wire."""

from datetime import datetime

from pydantic import Field

from naos.ids import ResourceId
from naos.names import Name
from naos.wire import Reference, Request, Wire


class ContentLibrary(Wire):
    id: str
    name: str
    machine_manager: Reference
    datastore: Reference | None = None


class ContentLibraryItem(Wire):
    """`size`: bytes of the kept file; `virtual_size`: bytes that a clone's disk has at least."""

    id: str
    name: str
    description: str
    type: str
    creation_time: datetime
    size: int
    last_modified_time: str
    ovf_properties: list[str] = Field(default_factory=list)
    virtual_size: int
    checksum: str
    source: str
    status: str


class Received(Wire):
    """An upload that a template can be made from."""

    id: str
    size: int
    sha256: str


class TemplateRequest(Request):
    """`checksum`: ``sha256:...``, ``sha512:...`` or ``md5:...`` of the file as it is sent."""

    name: Name
    description: str = Field(default="", max_length=4096)
    upload_id: ResourceId | None = None
    url: str | None = Field(default=None, max_length=2048)
    checksum: str | None = Field(default=None, max_length=160)
