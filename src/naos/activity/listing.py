"""Which activities a list shows, and in which order."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity.models import UNFINISHED, Activity, State
from naos.ids import normal_id

RECENT = timedelta(days=30)
"""An activity that ended longer ago is archived."""


@dataclass(frozen=True)
class Filters:
    """What is left out is not looked at. since, until: when it was made. text: a part of description or reason.

    archived: True for those that ended more than `RECENT` ago, False for the others.
    """

    state: State | None = None
    initiator: str | None = None
    type: str | None = None
    kind: str | None = None
    text: str | None = None
    concerned: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    archived: bool | None = None


def page(
    session: Session, tenant_id: str, filters: Filters, *, now: datetime, limit: int, before: str | None
) -> list[Activity]:
    """The newest `limit` activities of the tenant that come after the activity `before`; none when that is unknown.

    The order never changes: by the time when they were made, then by id.
    """
    query = sa.select(Activity).where(Activity.tenant_id == tenant_id, *_conditions(filters, now))
    if before is not None:
        last = session.get(Activity, normal_id(before) or "")
        if last is None or last.tenant_id != tenant_id:
            return []
        query = query.where(sa.tuple_(Activity.created_at, Activity.id) < sa.tuple_(last.created_at, last.id))
    return list(session.scalars(query.order_by(Activity.created_at.desc(), Activity.id.desc()).limit(limit)))


def _conditions(filters: Filters, now: datetime) -> list[sa.ColumnElement[bool]]:
    recent = sa.or_(Activity.state.in_(UNFINISHED), Activity.stopped_at >= now - RECENT)
    concerned = sa.cast(Activity.concerned, sa.Text)
    wanted: tuple[tuple[Any, Callable[[Any], sa.ColumnElement[bool]]], ...] = (
        (filters.state, lambda value: Activity.state == value),
        (filters.initiator, lambda value: Activity.actor_id == value),
        (filters.type, lambda value: Activity.type == value),
        (filters.kind, lambda value: Activity.kind == value),
        (
            filters.text,
            lambda value: sa.or_(
                Activity.description.icontains(value, autoescape=True),
                Activity.reason.icontains(value, autoescape=True),
            ),
        ),
        (filters.concerned, lambda value: concerned.contains(normal_id(value) or "no id", autoescape=True)),
        (filters.since, lambda value: Activity.created_at >= value),
        (filters.until, lambda value: Activity.created_at < value),
        (filters.archived, lambda value: sa.not_(recent) if value else recent),
    )
    return [condition(value) for value, condition in wanted if value is not None]
