"""How a run went: each step with its times, then the whole of it, signed with the key that seals the audit log."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.audit import chain, keys
from naos.audit.errors import AuditKeyUnusable
from naos.audit.models import AuditHead
from naos.errors import NaosError, Unknown
from naos.protection.recovery import rules
from naos.protection.recovery.models import RecoveryRun, RecoveryStep
from naos.protection.recovery.rules import Outcome, RunState
from naos.world import World


def find(session: Session, tenant_id: str, run_id: str) -> RecoveryRun:
    """Raises Unknown."""
    run = session.get(RecoveryRun, run_id)
    if run is None or run.tenant_id != tenant_id:
        raise Unknown("recovery run", run_id)
    return run


def listed(session: Session, tenant_id: str, subject_id: str | None = None) -> list[RecoveryRun]:
    """The latest first, 500 at most."""
    query = sa.select(RecoveryRun).where(RecoveryRun.tenant_id == tenant_id)
    if subject_id is not None:
        query = query.where(RecoveryRun.subject_id == subject_id)
    return list(session.scalars(query.order_by(RecoveryRun.started_at.desc(), RecoveryRun.id).limit(500)))


def steps_of(session: Session, run_id: str) -> list[RecoveryStep]:
    query = sa.select(RecoveryStep).where(RecoveryStep.run_id == run_id).order_by(RecoveryStep.number)
    return list(session.scalars(query))


def open_of(session: Session, subject_id: str) -> RecoveryRun | None:
    query = sa.select(RecoveryRun).where(RecoveryRun.subject_id == subject_id, RecoveryRun.state == RunState.RUNNING)
    return session.scalar(query)


def timed(
    world: World, run_id: str, number: int, name: str, machine_id: str | None, function: Callable[..., Any], *args: Any
) -> Any:
    """Do a step and note when it began and ended; one that a crash cut short keeps its first beginning.

    What the function returns is the step's result; a text is its remark. Raises what it raises.
    """
    with world.database.write() as session:
        if session.get(RecoveryStep, (run_id, number)) is None:
            now = datetime.now(UTC)
            session.add(
                RecoveryStep(run_id=run_id, number=number, name=name[:255], machine_id=machine_id, started_at=now)
            )
    try:
        result = function(*args)
    except NaosError as error:
        note(world, run_id, number, Outcome.FAILED, str(error))
        raise
    note(world, run_id, number, Outcome.OK, result if isinstance(result, str) else "")
    return result


def note(world: World, run_id: str, number: int, outcome: Outcome, remark: str) -> None:
    with world.database.write() as session:
        row = session.get(RecoveryStep, (run_id, number))
        if row is not None:
            row.ended_at, row.outcome, row.remark = row.ended_at or datetime.now(UTC), outcome, remark


def judge(world: World, run_id: str, number: int, remark: str, failed: bool) -> None:  # noqa: FBT001 - of a step
    """Say of a step that has come to its end that it is not as it should be."""
    note(world, run_id, number, Outcome.FAILED if failed else Outcome.WARNING, remark)


# --------------------------------------------------------------------------------------------------------------- the end


def close(world: World, run_id: str, facts: Mapping[str, Any], reason: str = "") -> None:
    """Write the report and sign it; one that is written stays as it is. reason: why the run failed as a whole."""
    with world.database.write() as session:
        run = session.get(RecoveryRun, run_id)
        if run is None or run.state != RunState.RUNNING:
            return
        found = steps_of(session, run_id)
        ended = datetime.now(UTC)
        failed = bool(reason) or any(step.outcome == Outcome.FAILED for step in found)
        total = (ended - run.started_at).total_seconds()
        seconds = float(run.report.get("readyAfter", total))
        run.state = RunState.FAILED if failed else RunState.SUCCEEDED
        run.ended_at = ended
        run.report = {
            "run": run.id,
            "subject": run.subject_id,
            "name": run.name,
            "kind": run.kind,
            "state": str(run.state),
            "reason": reason,
            "startedAt": run.started_at.isoformat(),
            "endedAt": ended.isoformat(),
            "seconds": round(total, 3),
            "readyAfterSeconds": round(seconds, 3),
            "promisedSeconds": run.promise,
            "keptPromise": not failed and seconds <= run.promise,
            "verdict": _verdict(seconds, run.promise, failed=failed),
            "steps": [shown(step) for step in found],
            **facts,
        }
        sign(session, world, run)


def _verdict(seconds: float, promise: int, *, failed: bool) -> str:
    if failed:
        return f"failed after {rules.duration(seconds)}"
    kept = "kept" if seconds <= promise else "missed"
    return f"{kept}: {rules.kept_promise(seconds, promise)}"


def shown(step: RecoveryStep) -> dict[str, Any]:
    seconds = (step.ended_at - step.started_at).total_seconds() if step.ended_at else None
    return {
        "number": step.number,
        "name": step.name,
        "virtualMachineId": step.machine_id,
        "startedAt": step.started_at.isoformat(),
        "seconds": round(seconds, 3) if seconds is not None else None,
        "outcome": step.outcome or "interrupted",
        "remark": step.remark,
    }


def sign(session: Session, world: World, run: RecoveryRun) -> None:
    """Seal the report's hash. Before the log of a database was begun there is no key, and no seal."""
    run.hash = _hash(run.report)
    head = session.scalar(sa.select(AuditHead))
    if head is None:
        return
    key = keys.read(world.settings.home / "keys", head.key_id)
    run.key_id, run.seal = head.key_id, _seal(key, run.hash)


def is_genuine(world: World, run: RecoveryRun) -> bool:
    """Whether the report is as it was signed. A key that this controller lacks says no."""
    if not run.seal or run.hash != _hash(run.report):
        return False
    try:
        key = keys.read(world.settings.home / "keys", run.key_id)
    except AuditKeyUnusable:
        return False
    return chain.same(run.seal, _seal(key, run.hash))


def _hash(report: Mapping[str, Any]) -> str:
    return hashlib.sha256(chain.canonical(report).encode()).hexdigest()


def _seal(key: bytes, digest: str) -> str:
    return hmac.new(key, f"recovery report\n{digest}".encode(), hashlib.sha256).hexdigest()
