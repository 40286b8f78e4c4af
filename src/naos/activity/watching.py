"""The activities' changes, as they happen: one look at the tables for all who watch, whichever controller does the work.

What is sent is always a whole activity as it is at that moment. So nothing has to be kept for those who come back: they get
the activities that are unfinished, or have ended since. A change that is over between two looks is not seen; an end always is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from naos.activity.errors import TooManyStreams
from naos.activity.models import UNFINISHED, Activity
from naos.activity.wire import to_wire
from naos.database import Database

log = structlog.get_logger()

INTERVAL_SECONDS = 0.5
MOST_PER_USER = 8
OVERLAP = timedelta(seconds=60)
"""By how much the clocks of controllers may differ."""

InThread = Callable[..., Awaitable[Any]]


@dataclass(eq=False)
class Subscription:
    """One who watches. `pending`: the latest state of each activity that was not sent yet, so it never grows beyond them."""

    tenant_id: str
    user_id: str
    pending: dict[str, str] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, activity_id: str, state: str) -> None:
        self.pending.pop(activity_id, None)
        self.pending[activity_id] = state
        self.news.set()

    def take(self) -> list[str]:
        """What is new; nothing of it is kept."""
        found, self.pending = list(self.pending.values()), {}
        self.news.clear()
        return found


class Watch:
    """All streams of one controller, in its event loop. in_thread: calls a function in a thread that may block."""

    def __init__(self, database: Database, in_thread: InThread, now: Callable[[], datetime]) -> None:
        self._database, self._in_thread, self._now = database, in_thread, now
        self._watching: set[Subscription] = set()
        self._known: dict[str, tuple[Any, ...]] = {}
        self._poller: asyncio.Task[None] | None = None

    def open(self, tenant_id: str, user_id: str) -> Subscription:
        """Raises TooManyStreams. To be ended by `close`."""
        if sum(one.user_id == user_id for one in self._watching) >= MOST_PER_USER:
            raise TooManyStreams(MOST_PER_USER)
        made = Subscription(tenant_id, user_id)
        self._watching.add(made)
        if self._poller is None or self._poller.done():
            self._known.clear()
            self._poller = asyncio.get_running_loop().create_task(self._poll_for_ever())
        return made

    def close(self, subscription: Subscription) -> None:
        self._watching.discard(subscription)
        if not self._watching and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def catch_up(self, subscription: Subscription, since: datetime | None) -> None:
        """Give it what is unfinished, and what has ended since it watched the last time."""
        found = await self._in_thread(self._read, [subscription.tenant_id], since, ())
        for activity in found:
            subscription.put(activity.id, _text(activity))

    async def _poll_for_ever(self) -> None:
        while True:
            tenants = {one.tenant_id for one in self._watching}
            try:
                unfinished = [activity_id for activity_id, known in self._known.items() if known[0] in UNFINISHED]
                self._tell(await self._in_thread(self._read, tenants, self._now(), unfinished))
            except Exception:
                log.exception("the activities could not be looked at; trying again")
            await asyncio.sleep(INTERVAL_SECONDS)

    def _tell(self, found: Iterable[Activity]) -> None:
        present = {activity.id: (activity, _mark(activity)) for activity in found}
        for activity, mark in present.values():
            if self._known.get(activity.id) != mark:
                text = _text(activity)
                for one in self._watching:
                    if one.tenant_id == activity.tenant_id:
                        one.put(activity.id, text)
        self._known = {activity_id: mark for activity_id, (_, mark) in present.items()}

    def _read(self, tenants: Iterable[str], since: datetime | None, also: Iterable[str]) -> list[Activity]:
        """The unfinished activities of the tenants, those that ended since, and those with an id of `also`."""
        mine = sa.select(Activity).where(Activity.tenant_id.in_(tenants))
        queries = [mine.where(Activity.state.in_(UNFINISHED))]
        if since is not None:
            with suppress(OverflowError):  # a time at the beginning of the calendar
                queries.append(mine.where(Activity.stopped_at >= since - OVERLAP))
        with self._database.read() as session:
            found = {activity.id: activity for query in queries for activity in session.scalars(query)}
            missing = [activity_id for activity_id in also if activity_id not in found]
            for start in range(0, len(missing), 500):
                chunk = mine.where(Activity.id.in_(missing[start : start + 500]))
                found |= {activity.id: activity for activity in session.scalars(chunk)}
        return sorted(found.values(), key=lambda activity: (activity.created_at, activity.id))


def _mark(activity: Activity) -> tuple[Any, ...]:
    """What a change is a change of."""
    return (activity.state, activity.undoing, activity.step, round(activity.progression, 3), activity.round)


def _text(activity: Activity) -> str:
    return to_wire(activity).model_dump_json(by_alias=True)
