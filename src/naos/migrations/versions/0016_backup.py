"""Backup runs and restore points"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = naos_types.UtcDateTime(timezone=True)
IDENTIFIER = sa.String(length=36)


def upgrade() -> None:
    _plans_and_runs()
    _points()
    _restores_and_space()


def _plans_and_runs() -> None:
    op.create_table(
        "backup_plans",
        sa.Column("policy_id", IDENTIFIER, nullable=False),
        sa.Column("time_zone", sa.String(length=63), nullable=False),
        sa.Column("cron", sa.String(length=128), nullable=True),
        *(sa.Column(f"keep_{unit}", WHOLE, nullable=False) for unit in ("days", "weeks", "months", "years")),
        sa.Column("immutable_days", WHOLE, nullable=False),
        sa.Column("window", sa.String(length=11), nullable=False),
        sa.Column("quiesce", sa.String(length=8), nullable=False),
        sa.Column("speed", WHOLE, nullable=False),
        sa.Column("verify_days", WHOLE, nullable=False),
        sa.Column("boot_days", WHOLE, nullable=False),
        sa.Column("handled_until", MOMENT, nullable=False),
        sa.Column("overruns", WHOLE, nullable=False),
        sa.Column("overran_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["policy_id"], ["backup_policies.id"], name=op.f("fk_backup_plans_policy_id")),
        sa.PrimaryKeyConstraint("policy_id", name=op.f("pk_backup_plans")),
    )
    op.create_table(
        "backup_policy_runs",
        sa.Column("run_number", WHOLE, nullable=False),
        sa.Column("policy_id", IDENTIFIER, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["run_number"], ["backup_runs.number"], name=op.f("fk_backup_policy_runs_run_number")),
        sa.ForeignKeyConstraint(["policy_id"], ["backup_policies.id"], name=op.f("fk_backup_policy_runs_policy_id")),
        sa.PrimaryKeyConstraint("run_number", name=op.f("pk_backup_policy_runs")),
        sa.UniqueConstraint("policy_id", "due_at", name=op.f("uq_backup_policy_runs_policy_id_due_at")),
    )
    op.create_table(
        "backup_tasks",
        sa.Column("run_number", WHOLE, nullable=False),
        sa.Column("machine_id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("activity_id", IDENTIFIER, nullable=True),
        sa.Column("copied", WHOLE, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["run_number"], ["backup_runs.number"], name=op.f("fk_backup_tasks_run_number")),
        sa.PrimaryKeyConstraint("run_number", "machine_id", name=op.f("pk_backup_tasks")),
    )
    for column in ("machine_id", "tenant_id", "status"):
        op.create_index(op.f(f"ix_backup_tasks_{column}"), "backup_tasks", [column])


def _points() -> None:
    op.create_table(
        "restore_points",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("machine_id", IDENTIFIER, nullable=False),
        sa.Column("machine_name", sa.String(length=255), nullable=False),
        sa.Column("policy_id", IDENTIFIER, nullable=False),
        sa.Column("policy_name", sa.String(length=255), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=False),
        sa.Column("vault", sa.String(length=63), nullable=False),
        sa.Column("set_id", IDENTIFIER, nullable=False),
        sa.Column("taken_at", MOMENT, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("consistency", sa.String(length=10), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("machine", sa.JSON(), nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("stored", WHOLE, nullable=False),
        sa.Column("copied", WHOLE, nullable=False),
        sa.Column("immutable_until", MOMENT, nullable=True),
        sa.Column("verified_at", MOMENT, nullable=True),
        sa.Column("booted_at", MOMENT, nullable=True),
        sa.Column("boot_note", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restore_points")),
    )
    for column in ("tenant_id", "machine_id", "policy_id", "set_id", "taken_at"):
        op.create_index(op.f(f"ix_restore_points_{column}"), "restore_points", [column])
    op.create_table(
        "restore_point_disks",
        sa.Column("point_id", IDENTIFIER, nullable=False),
        sa.Column("disk_id", IDENTIFIER, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("unit", WHOLE, nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("stored", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(
            ["point_id"], ["restore_points.id"], name=op.f("fk_restore_point_disks_point_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("point_id", "disk_id", name=op.f("pk_restore_point_disks")),
    )


def _restores_and_space() -> None:
    op.create_table(
        "restores",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("point_id", IDENTIFIER, nullable=False),
        sa.Column("machine_id", IDENTIFIER, nullable=False),
        sa.Column("machine_name", sa.String(length=255), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("vlan_id", IDENTIFIER, nullable=True),
        sa.Column("old_disks", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restores")),
    )
    for column in ("tenant_id", "point_id", "machine_id"):
        op.create_index(op.f(f"ix_restores_{column}"), "restores", [column])
    op.create_table(
        "backup_quotas",
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("alarm", sa.String(length=8), nullable=False),
        sa.Column("alarm_since", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_backup_quotas")),
    )
    op.create_table(
        "backup_space",
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("used", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "at", name=op.f("pk_backup_space")),
    )
