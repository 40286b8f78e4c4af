"""High availability: settings, conditions of blades, recoveries"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    identifier, moment = sa.String(length=36), naos_types.UtcDateTime(timezone=True)
    op.create_table(
        "pool_availability",
        sa.Column("cpool_id", identifier, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("tolerated", WHOLE, nullable=False),
        sa.Column("frozen_after", WHOLE, nullable=False),
        sa.Column("blade_memory", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("cpool_id", name=op.f("pk_pool_availability")),
    )
    op.create_table(
        "machine_availability",
        sa.Column("machine_id", identifier, nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("best_effort", sa.Boolean(), nullable=False),
        sa.Column("start_order", WHOLE, nullable=False),
        sa.Column("start_delay", WHOLE, nullable=False),
        sa.Column("restart_limit", WHOLE, nullable=False),
        sa.Column("hung_after", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("machine_id", name=op.f("pk_machine_availability")),
    )
    op.create_table(
        "blade_conditions",
        sa.Column("blade", sa.String(length=63), nullable=False),
        sa.Column("condition", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("shaken", sa.Boolean(), nullable=False),
        sa.Column("seen", sa.Boolean(), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.PrimaryKeyConstraint("blade", name=op.f("pk_blade_conditions")),
    )
    op.create_table(
        "recoveries",
        sa.Column("id", identifier, nullable=False),
        sa.Column("tenant_id", identifier, nullable=False),
        sa.Column("cpool_id", identifier, nullable=False),
        sa.Column("machine_id", identifier, nullable=False),
        sa.Column("blade", sa.String(length=63), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("progress", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", WHOLE, nullable=False),
        sa.Column("unwanted", sa.Boolean(), nullable=False),
        sa.Column("activity_id", identifier, nullable=True),
        sa.Column("target", sa.String(length=63), nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recoveries")),
    )
    for column in ("tenant_id", "cpool_id", "machine_id", "progress"):
        op.create_index(op.f(f"ix_recoveries_{column}"), "recoveries", [column])
