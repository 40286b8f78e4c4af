"""Hypervisor updates on the wire."""

from datetime import datetime

from pydantic import Field

from naos.compute.updates import Progress
from naos.wire import Reference, Request, Wire


class Updating(Request):
    build_id: str = Field(description="Id of the hypervisor build.")
    accept_downtime: bool = Field(
        default=False, description="Shut machines down that cannot move, and start them again afterwards."
    )


class BladeProgress(Wire):
    """`phase`: waiting, stopping, emptying, installing, opening, starting, done or failed. `activity_id`: of the phase in hand."""

    host: str
    phase: str
    activity_id: str | None
    reason: str


class Update(Wire):
    """`state`: running, ending (after the blade in hand), done, stopped (cancelled) or failed."""

    id: str
    build: Reference
    state: str
    reason: str
    accept_downtime: bool
    created_at: datetime
    ended_at: datetime | None
    hosts: list[BladeProgress]


def update_wire(found: Progress) -> Update:
    return Update(
        id=found.update.id,
        build=Reference(id=found.build.id, name=found.build.version),
        state=found.update.state,
        reason=found.update.reason,
        accept_downtime=found.update.downtime,
        created_at=found.update.created_at,
        ended_at=found.update.ended_at,
        hosts=[
            BladeProgress(host=entry.blade, phase=entry.phase, activity_id=entry.activity_id, reason=entry.reason)
            for entry in found.blades
        ],
    )
