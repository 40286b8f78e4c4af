"""Processors: what each blade can show, and the baseline of a cpool, which is what all of its blades can.

Guests are shown the baseline of their cpool as it was when they started. A blade that has less takes none of them before they have
started anew; that is what `missing_on` is asked for.
"""

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.engines.errors import Unsupported
from naos.engines.ports import Processor
from naos.fleet.models import Blade, BladeProcessor, Cpool, PoolProcessor
from naos.world import World

_log = structlog.get_logger()


def look(world: World, blade: str) -> None:
    """Ask a blade what it can show, and note it; one that cannot say has nothing noted. Raises what its hypervisor raises else."""
    try:
        found = world.rack.hypervisor(blade).processor()
    except Unsupported as error:
        _log.warning("blade.processor_unknown", blade=blade, reason=str(error))
        with world.database.write() as session:
            session.execute(sa.delete(BladeProcessor).where(BladeProcessor.blade == blade))
        return
    with world.database.write() as session:
        session.merge(
            BladeProcessor(blade=blade, model=found.model, features=list(found.features), definition=found.definition)
        )


def settle(world: World, cpool_id: str) -> None:
    """Compute the cpool's baseline anew, once every blade has said what it has; before that guests are shown what their blade has.

    Raises EngineError for blades that have nothing in common.
    """
    with world.database.read() as session:
        blades = list(session.scalars(sa.select(Blade).where(Blade.cpool_id == cpool_id).order_by(Blade.name)))
        known = {row.blade: row for row in _rows(session, [blade.name for blade in blades])}
    for blade in blades:
        if blade.name not in known and blade.connected:
            look(world, blade.name)
    with world.database.read() as session:
        found = [_processor(row) for row in _rows(session, [blade.name for blade in blades])]
        present = session.get(PoolProcessor, cpool_id)
    asked = next((blade.name for blade in blades if blade.connected), None)
    if len(found) < len(blades) or asked is None:
        return
    baseline = world.rack.hypervisor(asked).baseline(found)
    if present is not None and _processor(present) == baseline:
        return
    with world.database.write() as session:
        session.merge(
            PoolProcessor(
                cpool_id=cpool_id,
                model=baseline.model,
                features=list(baseline.features),
                definition=baseline.definition,
            )
        )


def _rows(session: Session, blades: Sequence[str]) -> list[BladeProcessor]:
    query = sa.select(BladeProcessor).where(BladeProcessor.blade.in_(blades)).order_by(BladeProcessor.blade)
    return list(session.scalars(query))


def _processor(row: BladeProcessor | PoolProcessor) -> Processor:
    return Processor(row.model, tuple(row.features), row.definition)


def of_pool(session: Session, cpool_id: str) -> Processor | None:
    """The baseline; None before it was computed."""
    row = session.get(PoolProcessor, cpool_id)
    return _processor(row) if row is not None else None


def for_start(world: World, cpool_id: str) -> Processor | None:
    """The baseline, computed now where nobody has yet."""
    with world.database.read() as session:
        found = of_pool(session, cpool_id)
    if found is None:
        settle(world, cpool_id)
        with world.database.read() as session:
            found = of_pool(session, cpool_id)
    return found


def missing_on(session: Session, tenant_id: str, features: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The tenant's blades that lack some of these, and what they lack. Those that were never asked are left out."""
    wanted = set(features)
    mine = sa.select(Blade.name).join(Cpool, Cpool.id == Blade.cpool_id).where(Cpool.tenant_id == tenant_id)
    rows = session.scalars(sa.select(BladeProcessor).where(BladeProcessor.blade.in_(mine)))
    lacking = {row.blade: tuple(sorted(wanted - set(row.features))) for row in rows}
    return {blade: missing for blade, missing in lacking.items() if missing}


def of_blades(session: Session, cpool_id: str) -> Mapping[str, frozenset[str]]:
    """What each blade of a cpool has; those that were never asked are left out."""
    names = sa.select(Blade.name).where(Blade.cpool_id == cpool_id)
    rows = session.scalars(sa.select(BladeProcessor).where(BladeProcessor.blade.in_(names)))
    return {row.blade: frozenset(row.features) for row in rows}


def forget(session: Session, cpool_id: str) -> None:
    session.execute(sa.delete(PoolProcessor).where(PoolProcessor.cpool_id == cpool_id))
