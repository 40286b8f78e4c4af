"""Recovery plans and replicas of machines"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = naos_types.UtcDateTime(timezone=True)
IDENTIFIER = sa.String(length=36)


def upgrade() -> None:
    _replicas()
    _plans()
    _runs()
    op.create_table(
        "recovery_remnants",
        sa.Column("lun_id", IDENTIFIER, nullable=False),
        sa.Column("disk_id", IDENTIFIER, nullable=False),
        sa.Column("machine_id", IDENTIFIER, nullable=False),
        sa.Column("blade", sa.String(length=63), nullable=True),
        sa.Column("fenced", sa.Boolean(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("lun_id", "disk_id", name=op.f("pk_recovery_remnants")),
    )
    op.create_index(op.f("ix_recovery_remnants_machine_id"), "recovery_remnants", ["machine_id"])


def _replicas() -> None:
    op.create_table(
        "machine_replicas",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("machine_id", IDENTIFIER, nullable=False),
        sa.Column("cpool_id", IDENTIFIER, nullable=False),
        sa.Column("lun_id", IDENTIFIER, nullable=False),
        sa.Column("set_id", IDENTIFIER, nullable=False),
        sa.Column("interval", WHOLE, nullable=False),
        sa.Column("keep", WHOLE, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("point_id", IDENTIFIER, nullable=True),
        sa.Column("instant", MOMENT, nullable=True),
        sa.Column("sent", WHOLE, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("home_lun_id", IDENTIFIER, nullable=True),
        sa.Column("home_cpool_id", IDENTIFIER, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machine_replicas")),
        sa.UniqueConstraint("machine_id", name=op.f("uq_machine_replicas_machine_id")),
    )
    for column in ("tenant_id", "cpool_id", "lun_id", "state"):
        op.create_index(op.f(f"ix_machine_replicas_{column}"), "machine_replicas", [column])
    op.create_table(
        "replica_points",
        sa.Column("point_id", IDENTIFIER, nullable=False),
        sa.Column("replica_id", IDENTIFIER, nullable=False),
        sa.Column("instant", MOMENT, nullable=False),
        sa.Column("sent", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(
            ["replica_id"], ["machine_replicas.id"], name=op.f("fk_replica_points_replica_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("point_id", name=op.f("pk_replica_points")),
    )
    op.create_index(op.f("ix_replica_points_replica_id"), "replica_points", ["replica_id"])


def _plans() -> None:
    op.create_table(
        "recovery_plans",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("home_cpool_id", IDENTIFIER, nullable=False),
        sa.Column("cpool_id", IDENTIFIER, nullable=False),
        sa.Column("networks", sa.JSON(), nullable=False),
        sa.Column("reserve", sa.Boolean(), nullable=False),
        sa.Column("promise", WHOLE, nullable=False),
        sa.Column("shutdown", WHOLE, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_plans")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_recovery_plans_tenant_id_name")),
    )
    for column in ("tenant_id", "cpool_id"):
        op.create_index(op.f(f"ix_recovery_plans_{column}"), "recovery_plans", [column])
    op.create_table(
        "recovery_plan_members",
        sa.Column("plan_id", IDENTIFIER, nullable=False),
        sa.Column("machine_id", IDENTIFIER, nullable=False),
        sa.Column("turn", WHOLE, nullable=False),
        sa.Column("delay", WHOLE, nullable=False),
        sa.Column("check", sa.String(length=8), nullable=False),
        sa.Column("expects", sa.String(length=255), nullable=False),
        sa.Column("patience", WHOLE, nullable=False),
        sa.Column("addresses", sa.JSON(), nullable=False),
        sa.Column("home_addresses", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["plan_id"], ["recovery_plans.id"], name=op.f("fk_recovery_plan_members_plan_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("plan_id", "machine_id", name=op.f("pk_recovery_plan_members")),
    )
    op.create_index(op.f("ix_recovery_plan_members_machine_id"), "recovery_plan_members", ["machine_id"])


def _runs() -> None:
    op.create_table(
        "recovery_runs",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("subject_id", IDENTIFIER, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("promise", WHOLE, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_runs")),
    )
    for column in ("tenant_id", "subject_id"):
        op.create_index(op.f(f"ix_recovery_runs_{column}"), "recovery_runs", [column])
    op.create_table(
        "recovery_steps",
        sa.Column("run_id", IDENTIFIER, nullable=False),
        sa.Column("number", WHOLE, nullable=False, autoincrement=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("machine_id", IDENTIFIER, nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("remark", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["recovery_runs.id"], name=op.f("fk_recovery_steps_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_recovery_steps")),
    )
