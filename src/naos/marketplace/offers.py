"""What the marketplace offers: who may publish, what an offer is made of, and deployments of it."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.catalogue import library
from naos.catalogue.models import Template
from naos.compute import deployment
from naos.compute.deployment import Mapping
from naos.compute.deployment_wire import Deployment
from naos.errors import Unknown
from naos.identity import Identity
from naos.lifecycle import check_ready
from naos.marketplace.errors import NotThePlatforms, TargetUnknown, VersionTaken
from naos.marketplace.models import MarketplaceItem
from naos.marketplace.wire import Changes, MarketplaceDeployment, Publication
from naos.tenancy import members
from naos.tenancy.models import Organisation
from naos.world import World

TARGET = "vmware"
"""The one way to deploy: the part of the API that speaks as VMware's does."""


def check_publisher(session: Session, identity: Identity, what: str) -> None:
    """The platform belongs to its first organisation: owners of that one publish. Raises NotThePlatforms."""
    first = session.scalars(sa.select(Organisation).order_by(Organisation.created_at, Organisation.id)).first()
    if first is None or not members.owns_organisation(session, identity.user_id, first.id):
        raise NotThePlatforms(first.name if first is not None else "", what)


def listed(session: Session) -> list[MarketplaceItem]:
    order = (MarketplaceItem.name, MarketplaceItem.created_at, MarketplaceItem.id)
    return list(session.scalars(sa.select(MarketplaceItem).order_by(*order)))


def find(session: Session, item_id: str) -> MarketplaceItem:
    """An offer, which is everybody's to see. Raises Unknown."""
    item = session.get(MarketplaceItem, item_id)
    if item is None:
        raise Unknown("marketplace item", item_id)
    return item


def template_of(session: Session, item: MarketplaceItem, target: str = TARGET) -> Template:
    """What an offer deploys. Raises TargetUnknown."""
    if target != TARGET:
        raise TargetUnknown(item.name, target)
    return session.get_one(Template, item.template_id)


def publish(session: Session, identity: Identity, wish: Publication) -> MarketplaceItem:
    """Raises NotThePlatforms, Unknown, TemplateNotReady, TemplateNotBootable, VersionTaken."""
    check_publisher(session, identity, "publishes")
    template = library.find_template(session, identity.tenant_id, wish.content_library_item_id)
    item = MarketplaceItem(tenant_id=identity.tenant_id, template_id=template.id, **_columns(wish.model_dump()))
    _check_version(session, item)
    session.add(item)
    session.flush()
    return item


def change(session: Session, identity: Identity, item_id: str, wish: Changes) -> MarketplaceItem:
    """Raises NotThePlatforms, Unknown, VersionTaken."""
    check_publisher(session, identity, "changes")
    item = find(session, item_id)
    for name, value in _columns(wish.model_dump()).items():
        if name in wish.model_fields_set and value is not None:
            setattr(item, name, value)
    item.updated_at = datetime.now(UTC)
    with session.no_autoflush:
        _check_version(session, item)
    return item


def _columns(given: dict[str, Any]) -> dict[str, Any]:
    """Details are kept under the names that they have on the wire."""
    found = {key: value for key, value in given.items() if key != "content_library_item_id"}
    for key in ("details", "details_en"):
        texts = found.get(key)
        if texts is not None:
            names = {"how_to_use": "howToUse", "terms_and_conditions": "termsAndConditions"}
            found[key] = {names.get(name, name): text for name, text in texts.items()}
    return found


def _check_version(session: Session, item: MarketplaceItem) -> None:
    same = sa.select(MarketplaceItem.id).where(
        MarketplaceItem.name == item.name,
        MarketplaceItem.version == item.version,
        MarketplaceItem.build == item.build,
    )
    if session.scalar(same) not in (None, item.id):
        raise VersionTaken(item.name, item.version, item.build)


def withdraw(session: Session, identity: Identity, item_id: str) -> None:
    """Machines that were made of it are not touched. Raises NotThePlatforms, Unknown."""
    check_publisher(session, identity, "withdraws")
    session.delete(find(session, item_id))


def plan_deploy(session: Session, world: World, tenant_id: str, body: MarketplaceDeployment) -> Plan:
    """A machine of the caller's from an offer; the image behind it stays the publisher's. Raises Unknown, NotReady, and what
    `deployment.plan_template` does."""
    item = find(session, body.id)
    template = template_of(session, item)
    check_ready("Template", template.name, template.lifecycle)
    wish = Deployment(
        content_library_item_id=template.id,
        **body.model_dump(include={"name", "datacenter_id", "host_cluster_id", "host_id", "datastore_id", "power_on"}),
        deploy_options=body.deploy_options,
    )
    mappings = [
        Mapping(entry.source_network_name or entry.network_adapter_name or "", entry.destination_network_id)
        for entry in body.network_data
    ]
    return deployment.plan_template(session, world, tenant_id, template, wish, mappings)


def _publications(session: Session, template_id: str) -> list[str]:
    names = sa.select(MarketplaceItem.name).where(MarketplaceItem.template_id == template_id)
    return [f"marketplace item {name}" for name in session.scalars(names)]


library.USERS.append(_publications)
