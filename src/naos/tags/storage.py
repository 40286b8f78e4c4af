"""Reading and writing tags. Each function works in the caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.tags import kinds, rules
from naos.tags.errors import ResourceMissing, TooManyTags
from naos.tags.models import Tag


@dataclass(frozen=True)
class Resource:
    """An object to tag, as a request names it."""

    uuid: str
    type: str
    source: str


def put(session: Session, tenant_id: str, key: str, value: str, resources: Sequence[Resource]) -> list[Tag]:
    """Give every one of `resources` this value of the key, or none of them. A value that it had is replaced.

    Raises KeyUnfit, ValueTooLong, ResourceMissing, KindUnknown, Unknown, TooManyTags.
    """
    rules.check_key(key)
    rules.check_value(key, value)
    if not resources:
        raise ResourceMissing
    written = []
    for resource in sorted(set(resources), key=lambda resource: resource.uuid):
        kind = kinds.find(resource.type, resource.source)
        kind.check(session, tenant_id, resource.uuid)
        tag = session.get(Tag, (resource.uuid, key))
        if tag is None:
            count = session.scalar(sa.select(sa.func.count()).where(Tag.resource_id == resource.uuid)) or 0
            if count >= rules.MOST:
                raise TooManyTags(kind.noun, resource.uuid, rules.MOST)
            tag = Tag(tenant_id=tenant_id, resource_id=resource.uuid, key=key, resource_type=resource.type)
            session.add(tag)
        tag.value, tag.changed_at = value, datetime.now(UTC)
        session.flush()
        written.append(tag)
    return written


def of_resource(session: Session, tenant_id: str, resource_id: str) -> list[Tag]:
    """The tags of an object, by key; none for an object that is not the tenant's or does not exist."""
    mine = sa.select(Tag).where(Tag.tenant_id == tenant_id, Tag.resource_id == resource_id)
    return sorted(session.scalars(mine), key=lambda tag: tag.key)


def remove(session: Session, tenant_id: str, resource_id: str, candidates: Iterable[str]) -> str | None:
    """Remove the first of the keys that the object has; which one that was, None when it has none of them."""
    for key in candidates:
        tag = session.get(Tag, (resource_id, key))
        if tag is not None and tag.tenant_id == tenant_id:
            session.delete(tag)
            return key
    return None


def forget(session: Session, resource_id: str) -> None:
    """An object is gone, and so are its tags. To be called after its own row was deleted, in the same transaction: who was
    putting a tag on it held that row, so that no tag comes later."""
    session.execute(sa.delete(Tag).where(Tag.resource_id == resource_id))
