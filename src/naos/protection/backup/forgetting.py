"""What becomes of backup's rows when a policy goes."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.protection.backup import runs
from naos.protection.backup.errors import JobRunning, PolicyHasPoints
from naos.protection.backup.models import BackupPlan, BackupTask, PolicyRun, RestorePoint
from naos.protection.models import BackupPolicy


def policy_goes(session: Session, policy: BackupPolicy) -> None:
    """Remove its terms and the tasks of its runs. Raises PolicyHasPoints, JobRunning."""
    points = sa.select(sa.func.count()).select_from(RestorePoint).where(RestorePoint.policy_id == policy.id)
    count = session.scalar(points) or 0
    if count:
        raise PolicyHasPoints(policy.name, count)
    present = runs.running(session, policy.id)
    if present is not None:
        tasks = runs.tasks_of(session, present.number)
        ended = sum(task.status in runs.ENDED for task in tasks)
        raise JobRunning(policy.name, present.started_at.strftime("%Y-%m-%d %H:%M UTC"), ended, len(tasks))
    mine = sa.select(PolicyRun.run_number).where(PolicyRun.policy_id == policy.id)
    session.execute(sa.delete(BackupTask).where(BackupTask.run_number.in_(mine)))
    session.execute(sa.delete(PolicyRun).where(PolicyRun.policy_id == policy.id))
    session.execute(sa.delete(BackupPlan).where(BackupPlan.policy_id == policy.id))
