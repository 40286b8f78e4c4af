"""Notices over HTTP: targets, and what became of what was written for them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from joserfc.jwk import OctKey

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import Services, ServicesOf
from naos.identity import Identity
from naos.login import sealing
from naos.protection.notices import outbox, targets
from naos.protection.notices.models import Notice, NoticeTarget
from naos.protection.notices.rules import Event, State
from naos.protection.notices.wire import (
    MailWire,
    NoticeWire,
    TargetChange,
    TargetRequest,
    TargetWire,
    WebhookWire,
    wish_of,
)

router = APIRouter()
Reader = Annotated[Identity, Depends(require("backup_iaas_spp_read"))]
Writer = Annotated[Identity, Depends(require("backup_iaas_spp_read", "backup_iaas_spp_write"))]


def _key(services: Services) -> OctKey:
    return sealing.open_key(services.settings.home / "keys")


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _target(target: NoticeTarget) -> TargetWire:
    return TargetWire(
        id=target.id,
        name=target.name,
        webhook=WebhookWire(**target.settings) if target.kind == "webhook" else None,
        mail=MailWire(**target.settings) if target.kind == "mail" else None,
        events=[Event(event) for event in target.events],
        enabled=target.enabled,
        digest_at=target.digest_at,
        time_zone=target.time_zone,
        failures=target.failures,
        created_at=_milliseconds(target.created_at),
    )


def _notice(notice: Notice) -> NoticeWire:
    return NoticeWire(
        id=notice.id,
        target_id=notice.target_id,
        event=Event(notice.event),
        subject=notice.subject,
        text=notice.text,
        details=notice.details,
        state=notice.state,
        attempts=notice.attempts,
        reason=notice.reason,
        created_at=_milliseconds(notice.created_at),
        next_at=_milliseconds(notice.next_at) if notice.state == State.WAITING else None,
        delivered_at=None if notice.delivered_at is None else _milliseconds(notice.delivered_at),
    )


@router.get("/notice_targets")
def list_targets(identity: Reader, services: ServicesOf) -> list[TargetWire]:
    """Whom the tenant wants told of what goes wrong in backup."""
    with services.database.read() as session:
        return [_target(target) for target in targets.of_tenant(session, identity.tenant_id)]


@router.get("/notice_targets/{target_id}")
def read_target(target_id: ResourceId, identity: Reader, services: ServicesOf) -> TargetWire:
    """One target."""
    with services.database.read() as session:
        return _target(targets.find(session, identity.tenant_id, target_id))


@router.post("/notice_targets", status_code=201)
def add_target(body: TargetRequest, identity: Writer, services: ServicesOf) -> TargetWire:
    """Add a target: a web address, which gets signed requests, or people, who get mail. Its secret is never shown again."""
    with services.database.write() as session:
        allowed = services.settings.notice_networks
        return _target(targets.add(session, identity.tenant_id, _key(services), allowed, wish_of(body)))


@router.patch("/notice_targets/{target_id}")
def change_target(target_id: ResourceId, body: TargetChange, identity: Writer, services: ServicesOf) -> TargetWire:
    """Change a target. `webhook` or `mail` replaces what was there, but for a secret that is left out."""
    with services.database.write() as session:
        target = targets.find(session, identity.tenant_id, target_id)
        targets.change(session, target, _key(services), services.settings.notice_networks, wish_of(body))
        return _target(target)


@router.delete("/notice_targets/{target_id}", status_code=204)
def delete_target(target_id: ResourceId, identity: Writer, services: ServicesOf) -> None:
    """Delete a target, with what was written for it."""
    with services.database.write() as session:
        session.delete(targets.find(session, identity.tenant_id, target_id))


@router.post("/notice_targets/{target_id}/test", status_code=201)
def try_target(target_id: ResourceId, identity: Writer, services: ServicesOf) -> NoticeWire:
    """Write a test notice for a target; `GET /notices/{id}` says what became of it."""
    with services.database.write() as session:
        target = targets.find(session, identity.tenant_id, target_id)
        subject, text = "Test of backup notices", f"This is a test of the target {target.name}. Nothing is wrong."
        return _notice(outbox.write(session, target, Event.TEST, subject, text, {}))


@router.get("/notices")
def list_notices(
    identity: Reader,
    services: ServicesOf,
    targetId: str | None = None,  # noqa: N803 - the wire's way
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[NoticeWire]:
    """What was written of late, the newest first. It is kept for 30 days."""
    with services.database.read() as session:
        found = outbox.of_tenant(session, identity.tenant_id, target_id=targetId, limit=limit)
        return [_notice(notice) for notice in found]


@router.get("/notices/{notice_id}")
def read_notice(notice_id: ResourceId, identity: Reader, services: ServicesOf) -> NoticeWire:
    """One notice."""
    with services.database.read() as session:
        return _notice(outbox.find(session, identity.tenant_id, notice_id))
