"""Explanations, plans and recommendations on the wire. Memory in bytes."""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.arranging import Explanation
from naos.compute.balance import Advice
from naos.compute.rearranging import Move, Outcome
from naos.fleet.models import Blade, Cpool
from naos.wire import Reference, Wire


class BladeVerdict(Wire):
    """`present`: the machine runs there, or was there last."""

    host: Reference
    fits: bool
    chosen: bool
    present: bool
    reason: str
    free_memory: int
    vcpus: int
    machines: int


class MoveWire(Wire):
    virtual_machine: Reference
    source: Reference
    target: Reference
    reason: str


class PlanWire(Wire):
    """`host`: where the machine can start after the moves; null when nothing helps, then `blame` says what is in the way. `proven`:
    there is no plan, and not merely none that was found in time."""

    possible: bool
    host: Reference | None
    moves: list[MoveWire]
    blame: list[str]
    proven: bool


class PlacementWire(Wire):
    """`refusal`: why the cpool as a whole cannot take the machine. `plan`: moves that would make room, where no blade fits."""

    virtual_machine: Reference
    host_cluster: Reference
    needed_memory: int
    needed_cpus: int
    enabled_memory: int
    used_memory: int
    chosen: Reference | None
    refusal: str | None
    blades: list[BladeVerdict]
    plan: PlanWire | None


class RecommendationsWire(Wire):
    """`gap`: percentage points of memory between the fullest and the emptiest blade."""

    host_cluster: Reference
    automation_level: str
    balance_threshold: int
    gap: float
    moves: list[MoveWire]


def blades_by_name(session: Session, cpool_id: str) -> Mapping[str, Reference]:
    blades = session.scalars(sa.select(Blade).where(Blade.cpool_id == cpool_id))
    return {blade.name: Reference(id=blade.id, name=blade.name) for blade in blades}


def move_wire(move: Move, blades: Mapping[str, Reference], reason: str) -> MoveWire:
    return MoveWire(
        virtual_machine=Reference(id=move.machine_id, name=move.name),
        source=blades[move.source],
        target=blades[move.target],
        reason=reason,
    )


def plan_wire(outcome: Outcome, blades: Mapping[str, Reference]) -> PlanWire:
    return PlanWire(
        possible=outcome.blade is not None,
        host=blades[outcome.blade] if outcome.blade is not None else None,
        moves=[move_wire(move, blades, "makes room") for move in outcome.moves],
        blame=list(outcome.blame),
        proven=outcome.proven,
    )


def explanation_wire(found: Explanation, blades: Mapping[str, Reference]) -> PlacementWire:
    candidates = {candidate.name: candidate for candidate in found.candidates}
    machine = found.machine
    return PlacementWire(
        virtual_machine=Reference(id=machine.id, name=machine.name),
        host_cluster=Reference(id=found.cpool.id, name=found.cpool.name),
        needed_memory=machine.memory,
        needed_cpus=machine.cpu,
        enabled_memory=found.enabled,
        used_memory=found.used,
        chosen=blades[found.chosen] if found.chosen is not None else None,
        refusal=found.refusal,
        blades=[
            BladeVerdict(
                host=blades[verdict.blade],
                fits=verdict.fits,
                chosen=verdict.blade == found.chosen,
                present=verdict.blade == machine.blade,
                reason=verdict.reason,
                free_memory=max(candidates[verdict.blade].free, 0),
                vcpus=candidates[verdict.blade].vcpus,
                machines=candidates[verdict.blade].machines,
            )
            for verdict in found.verdicts
        ],
        plan=plan_wire(found.outcome, blades) if found.outcome is not None else None,
    )


def recommendations_wire(
    cpool: Cpool, gap: float, advice: Iterable[Advice], blades: Mapping[str, Reference]
) -> RecommendationsWire:
    return RecommendationsWire(
        host_cluster=Reference(id=cpool.id, name=cpool.name),
        automation_level=cpool.automation,
        balance_threshold=cpool.balance_threshold,
        gap=round(gap, 1),
        moves=[move_wire(found.move, blades, found.reason) for found in advice],
    )
