"""Hypervisor builds over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.fleet import builds
from naos.fleet.build_wire import Build, BuildRequest, build_wire
from naos.fleet.errors import BuildEmpty
from naos.identity import Identity

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Publisher = Annotated[Identity, Depends(require("inventory_read", "inventory_write"))]


@router.get("/hypervisor_builds")
def list_builds(identity: Reader, services: ServicesOf, version: str | None = None) -> list[Build]:
    """The builds that blades can be brought to, the latest first; the same for every tenant."""
    del identity
    with services.database.read() as session:
        return [build_wire(build) for build in builds.listed(session) if version in (None, build.version)]


@router.get("/hypervisor_builds/{build_id}")
def read_build(build_id: ResourceId, identity: Reader, services: ServicesOf) -> Build:
    """One build."""
    del identity
    with services.database.read() as session:
        return build_wire(builds.find(session, build_id))


@router.post("/hypervisor_builds", status_code=201)
def publish_build(body: BuildRequest, identity: Publisher, services: ServicesOf) -> Build:
    """Offer a build to every cpool: for the operating organisation. Nothing is installed before a cpool takes it."""
    with services.database.write() as session:
        builds.check_operator(session, identity, "publishing hypervisor builds")
        if not body.packages and not body.command.strip():
            raise BuildEmpty(body.version)
        made = builds.publish(
            session,
            version=body.version,
            description=body.description,
            advisories=[advisory.model_dump() for advisory in body.advisories],
            packages=body.packages,
            command=body.command,
            check_command=body.check_command,
            reboot=body.reboot,
            deadline=body.deadline_seconds,
        )
        return build_wire(made)


@router.delete("/hypervisor_builds/{build_id}", status_code=204)
def withdraw_build(build_id: ResourceId, identity: Publisher, services: ServicesOf) -> None:
    """Take an offer back that no cpool has taken."""
    with services.database.write() as session:
        builds.check_operator(session, identity, "withdrawing hypervisor builds")
        builds.withdraw(session, build_id)
