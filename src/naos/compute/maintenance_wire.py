"""Maintenance of blades on the wire."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field

from naos.compute.blockers import Blocker
from naos.compute.blockers_wire import BlockerWire, blocker_wire
from naos.compute.evacuating import Evacuation
from naos.compute.maintenance import AT_ONCE, MOST_AT_ONCE, Sight
from naos.compute.placement_wire import MoveWire, move_wire
from naos.wire import Reference, Request, Wire


class Entering(Request):
    parallel_migrations: Annotated[int, Field(strict=True, ge=1, le=MOST_AT_ONCE)] = Field(
        default=AT_ONCE, description="How many machines leave the blade side by side."
    )


class StuckWire(Wire):
    virtual_machine: Reference
    reason: str


class EvacuationWire(Wire):
    """`stages`: one after the other, the moves of each side by side. Where `possible` is false, `stuck` has the machines in the way,
    `blockers` each rule against each of them, blade by blade, and what is wrong with the blade itself, `blame` each constraint that
    alone would help if it gave way, `remedies` what can be done; `proven`: there is no plan, and not merely none that was found in
    time."""

    possible: bool
    stages: list[list[MoveWire]]
    stuck: list[StuckWire]
    blockers: list[BlockerWire]
    blame: list[str]
    remedies: list[str]
    proven: bool


class MachineMove(Wire):
    """`state`: waiting, moving, moved, returned, failed or left (where it was). `progression`: 0 to 1."""

    virtual_machine: Reference
    source: Reference
    target: Reference
    state: str
    progression: float
    reason: str


class MaintenanceWire(Wire):
    """`state`: empty for a blade that takes machines, else entering, cancelling or maintenance. `machines`: those of the latest
    evacuation. `plan`: how the blade would be emptied now; null unless it takes machines."""

    host: Reference
    host_cluster: Reference
    state: str
    since: datetime | None
    machines: list[MachineMove]
    plan: EvacuationWire | None


def evacuation_wire(
    found: Evacuation, in_the_way: Sequence[Blocker], blades: Mapping[str, Reference]
) -> EvacuationWire:
    return EvacuationWire(
        possible=found.stages is not None and not in_the_way,
        stages=[[move_wire(move, blades, "empties the blade") for move in stage] for stage in found.stages or ()],
        stuck=[
            StuckWire(virtual_machine=Reference(id=entry.machine_id, name=entry.name), reason=entry.reason)
            for entry in found.stuck
        ],
        blockers=[blocker_wire(blocker, blades) for blocker in in_the_way],
        blame=list(found.blame),
        remedies=list(found.help),
        proven=found.proven,
    )


def maintenance_wire(sight: Sight, blades: Mapping[str, Reference]) -> MaintenanceWire:
    """blades: of the cpool, by name; one that has left it since is shown by its name alone."""

    def blade(name: str) -> Reference:
        return blades.get(name) or Reference(id="", name=name)

    return MaintenanceWire(
        host=Reference(id=sight.blade.id, name=sight.blade.name),
        host_cluster=Reference(id=sight.cpool.id, name=sight.cpool.name),
        state=sight.blade.maintenance,
        since=sight.blade.maintenance_since,
        machines=[
            MachineMove(
                virtual_machine=Reference(id=move.machine_id, name=move.name),
                source=blade(move.source),
                target=blade(move.target),
                state=move.state,
                progression=round(move.share, 3),
                reason=move.reason,
            )
            for move in sight.moves
        ],
        plan=evacuation_wire(sight.plan, sight.blockers, blades) if sight.plan is not None else None,
    )
