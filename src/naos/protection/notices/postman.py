"""Delivers notices, and writes the digests that are due, on the controller that leads."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import sqlalchemy as sa
import structlog

from naos.activity import Engine
from naos.login import sealing
from naos.protection.backup import schedule
from naos.protection.notices import digest, outbox, rules, sending
from naos.protection.notices.errors import NotDelivered
from naos.protection.notices.models import Notice, NoticeTarget
from naos.protection.notices.rules import Event, State
from naos.protection.notices.sending import Way
from naos.tenancy.errors import KeyUnusable
from naos.world import World

PERIOD_SECONDS = 1.0
SWEEP_SECONDS = 3600.0
AT_ONCE = 8
OF_ONE_TENANT = 2
"""Deliveries at the same time: a tenant whose targets answer slowly does not keep the others'."""
_log = structlog.get_logger()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Postman:
    """clock: what the time is, for tests."""

    def __init__(
        self,
        world: World,
        engine: Engine,
        *,
        period: float = PERIOD_SECONDS,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._world, self._engine, self._period, self._clock = world, engine, period, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="postman", daemon=True)
        self._carriers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="postman")
        self._lock = threading.Lock()
        self._busy: dict[str, str] = {}  # target -> tenant
        self._swept = time.monotonic()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is being delivered comes to its end, which is bounded."""
        self._stop.set()
        self._thread.join()
        self._carriers.shutdown(wait=True, cancel_futures=True)

    def _loop(self) -> None:
        while not self._stop.wait(self._period):
            if not self._engine.is_leader():
                continue
            try:
                self.look()
            except Exception:
                _log.exception("postman.look_failed")

    def look(self) -> None:
        """One round: digests that are due, then deliveries, which go on by themselves."""
        self.write_digests()
        for notice in self._take():
            self._carriers.submit(self._carry, notice)
        if time.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = time.monotonic()
            with self._world.database.write() as session:
                outbox.forget_old(session, self._clock())

    def deliver(self) -> None:
        """All that is due now, one after the other, for tests."""
        for notice in self._take():
            self._carry(notice)

    def write_digests(self) -> None:
        now = self._clock()
        with self._world.database.read() as session:
            query = sa.select(NoticeTarget).where(NoticeTarget.enabled.is_(True))
            wanted = [t.id for t in session.scalars(query) if Event.DIGEST in t.events and _due(t, now) is not None]
        for target_id in wanted:
            self._write_digest(target_id, now)

    def _write_digest(self, target_id: str, now: datetime) -> None:
        with self._world.database.write() as session:
            target = session.get(NoticeTarget, target_id)
            due = None if target is None else _due(target, now)
            if target is None or due is None:
                return
            since = target.digest_until
            found = digest.of(session, target.tenant_id, since, due)
            details = digest.details(found, since, due)
            outbox.write(session, target, Event.DIGEST, digest.subject(found), digest.text(found, since, due), details)
            target.digest_until = due

    def _take(self) -> list[Notice]:
        """What is due and whose target nobody is at; each is marked as being carried."""
        with self._lock:
            busy = dict(self._busy)
        with self._world.database.read() as session:
            found = outbox.due(session, self._clock(), 10 * AT_ONCE, list(busy))
        taken = []
        with self._lock:
            for notice in found:
                of_tenant = sum(tenant_id == notice.tenant_id for tenant_id in self._busy.values())
                if notice.target_id in self._busy or of_tenant >= OF_ONE_TENANT or len(self._busy) >= AT_ONCE:
                    continue
                self._busy[notice.target_id] = notice.tenant_id
                taken.append(notice)
        return taken

    def _carry(self, notice: Notice) -> None:
        try:
            reason, lasting = self._attempt(notice)
            with self._world.database.write() as session:
                state = outbox.note(session, notice.id, self._clock(), reason, lasting=lasting)
            if reason:
                given_up = state is State.GIVEN_UP
                _log.warning("notice.not_delivered", notice=notice.id, reason=reason, given_up=given_up)
        except Exception:
            _log.exception("notice.failed", notice=notice.id)
        finally:
            with self._lock:
                self._busy.pop(notice.target_id, None)

    def _attempt(self, notice: Notice) -> tuple[str, bool]:
        """Why it failed, "" when it did not; and whether trying again is of no use."""
        chosen = self._world.settings
        with self._world.database.read() as session:
            target = session.get(NoticeTarget, notice.target_id)
        if target is None:
            return "its target was deleted", True
        try:
            secret = sealing.unseal(sealing.open_key(chosen.home / "keys"), target.secret) if target.secret else ""
            sending.deliver(target, secret, notice, Way(chosen.notice_networks, chosen.notice_authorities))
        except NotDelivered as error:
            return str(error), error.lasting
        except KeyUnusable as error:
            return str(error), False
        return "", False


def _due(target: NoticeTarget, now: datetime) -> datetime | None:
    return rules.digest_due(target.digest_at, schedule.zone_of(target.time_zone), target.digest_until, now)
