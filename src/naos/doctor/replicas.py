"""Replicated volumes: copies that are older than they may be, and points that no replication knows."""

from collections.abc import Iterator
from datetime import UTC, datetime

import sqlalchemy as sa

from naos.doctor.findings import Finding
from naos.engines.errors import EngineError
from naos.lifecycle import Lifecycle
from naos.protection import copying
from naos.protection.replication import replications, views
from naos.protection.replication.models import LunReplication
from naos.world import World


def differences(world: World) -> Iterator[Finding]:
    """Arrays that do not answer are left out: they are findings of their own."""
    with world.database.read() as session:
        rows = list(session.scalars(sa.select(LunReplication).where(LunReplication.lifecycle == Lifecycle.ACTIVE)))
        shown = {row.id: views.replication(session, row, datetime.now(UTC)) for row in rows}
    for row in rows:
        alarm = shown[row.id].alarm
        if alarm is not None:
            sentence = f"replication of volume {shown[row.id].source.name}: {alarm}"
            repair = "see to what its failure names; the next point is tried without help"
            yield Finding("replication.late", row.id, sentence, repair)
        yield from _strangers(world, row)


def _strangers(world: World, row: LunReplication) -> Iterator[Finding]:
    try:
        kept = copying.store_of(world, replications.where(row)).sets()
    except EngineError:
        return
    for set_id in kept:
        if set_id != row.id:
            sentence = f"replica {row.replica_id} keeps points of set {set_id}, which no replication has"
            repair = "look into it, then remove them by hand; naos never deletes data that it does not know"
            yield Finding("points.orphan", set_id, sentence, repair)
