"""Tags over HTTP (contract section 6.1). Every call has taken effect when it answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from naos.api.authentication import require
from naos.api.services import ServicesOf
from naos.identity import Identity
from naos.ids import normal_id
from naos.tags import rules, storage
from naos.tags.wire import TagCreation, TagWire, to_wire

router = APIRouter(prefix="/tag/v1/tags", tags=["Tags"])

Reader = Annotated[Identity, Depends(require("tag_read"))]
Writer = Annotated[Identity, Depends(require("tag_write"))]


@router.post("", status_code=201)
def put_tag(body: TagCreation, identity: Writer, services: ServicesOf) -> list[TagWire]:
    """Put a tag on objects: on all that are named, or on none. An object that has the key gets the new value."""
    resources = [storage.Resource(item.uuid, item.type, item.source) for item in body.resources]
    with services.database.write() as session:
        return [to_wire(tag) for tag in storage.put(session, identity.tenant_id, body.key, body.value, resources)]


@router.get("/resources/{resource_id}")
def list_tags(resource_id: str, identity: Reader, services: ServicesOf) -> list[TagWire]:
    """The tags of an object, in the order of their keys; an empty list for an object that is unknown here."""
    with services.database.read() as session:
        found = storage.of_resource(session, identity.tenant_id, normal_id(resource_id) or "")
        return [to_wire(tag) for tag in found]


@router.delete("/resources/{resource_id}/keys/{key:path}", status_code=204)
def remove_tag(
    resource_id: str, _key: Annotated[str, Path(alias="key")], request: Request, identity: Writer, services: ServicesOf
) -> Response:
    """Remove a tag. The key stands at the end of the address, escaped or not; a tag that is not there is removed already."""
    wanted = rules.named(request.scope["raw_path"], request.scope["query_string"])
    with services.database.write() as session:
        storage.remove(session, identity.tenant_id, normal_id(resource_id) or "", wanted)
    return Response(status_code=204)
