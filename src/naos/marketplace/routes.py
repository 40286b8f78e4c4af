"""The marketplace over HTTP (wire-API section 6.2)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.catalogue import library
from naos.catalogue.models import Template
from naos.identity import Identity
from naos.marketplace import offers
from naos.marketplace.models import MarketplaceItem
from naos.marketplace.wire import Changes, Info, Item, MarketplaceDeployment, Publication, info_wire, item_wire

router = APIRouter(prefix="/marketplace/v1", tags=["Marketplace"])
Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


def _shown(session: Session, item: MarketplaceItem) -> Item:
    return item_wire(item, offers.template_of(session, item))


@router.get("/items")
def list_items(identity: Reader, services: ServicesOf) -> list[Item]:
    """What the marketplace offers, to every tenant the same."""
    del identity
    with services.database.read() as session:
        items = offers.listed(session)
        wanted = sa.select(Template).where(Template.id.in_({item.template_id for item in items}))
        templates = {template.id: template for template in session.scalars(wanted)}
        return [item_wire(item, templates[item.template_id]) for item in items]


@router.post("/items", status_code=201)
def publish_item(body: Publication, identity: Manager, services: ServicesOf) -> Item:
    """Offer an item of one's library to every tenant: for owners of the platform's first organisation."""
    with services.database.write() as session:
        return _shown(session, offers.publish(session, identity, body))


@router.post("/items/vmware/deploy", **ASYNCHRONOUS)
def deploy_item(
    body: MarketplaceDeployment, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Make a machine from an offer."""
    return submit(
        services,
        identity,
        key,
        lambda session: offers.plan_deploy(session, services.world, identity.tenant_id, body),
    )


@router.get("/items/{item_id}")
def read_item(item_id: ResourceId, identity: Reader, services: ServicesOf) -> Item:
    """One offer."""
    del identity
    with services.database.read() as session:
        return _shown(session, offers.find(session, item_id))


@router.patch("/items/{item_id}")
def change_item(item_id: ResourceId, body: Changes, identity: Manager, services: ServicesOf) -> Item:
    """Other texts, another version: for owners of the platform's first organisation. What is left out stays."""
    with services.database.write() as session:
        return _shown(session, offers.change(session, identity, item_id, body))


@router.delete("/items/{item_id}", status_code=204)
def withdraw_item(item_id: ResourceId, identity: Manager, services: ServicesOf) -> None:
    """Take an offer back: for owners of the platform's first organisation. Machines made from it are not touched."""
    with services.database.write() as session:
        offers.withdraw(session, identity, item_id)


@router.get("/items/{item_id}/{target}/info")
def read_info(item_id: ResourceId, target: str, identity: Reader, services: ServicesOf) -> Info:
    """What a deployment of an offer makes."""
    del identity
    with services.database.read() as session:
        item = offers.find(session, item_id)
        template = offers.template_of(session, item, target)
        return info_wire(item, template, library.disks_of(session, template.id))
