"""Backup notices"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = naos_types.UtcDateTime(timezone=True)
IDENTIFIER = sa.String(length=36)


def upgrade() -> None:
    with op.batch_alter_table("backup_plans") as plans:
        plans.add_column(sa.Column("in_clear", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "notice_targets",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("digest_at", sa.String(length=5), nullable=False),
        sa.Column("time_zone", sa.String(length=63), nullable=False),
        sa.Column("digest_until", MOMENT, nullable=False),
        sa.Column("failures", WHOLE, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_targets")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_notice_targets_tenant_id_name")),
    )
    op.create_index(op.f("ix_notice_targets_tenant_id"), "notice_targets", ["tenant_id"])
    op.create_table(
        "notices",
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("target_id", IDENTIFIER, nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", WHOLE, nullable=False),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["target_id"], ["notice_targets.id"], name=op.f("fk_notices_target_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    for column in ("tenant_id", "target_id", "next_at", "created_at"):
        op.create_index(op.f(f"ix_notices_{column}"), "notices", [column])
