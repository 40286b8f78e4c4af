"""Instant start"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = naos_types.UtcDateTime(timezone=True)
IDENTIFIER = sa.String(length=36)


def upgrade() -> None:
    op.create_table(
        "instant_starts",
        sa.Column("restore_id", IDENTIFIER, nullable=False),
        sa.Column("tenant_id", IDENTIFIER, nullable=False),
        sa.Column("point_id", IDENTIFIER, nullable=False),
        sa.Column("machine_id", IDENTIFIER, nullable=False),
        sa.Column("machine_name", sa.String(length=255), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("speed", WHOLE, nullable=False),
        sa.Column("door", sa.String(length=80), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("moving_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("restore_id", name=op.f("pk_instant_starts")),
    )
    for column in ("tenant_id", "point_id", "machine_id", "state"):
        op.create_index(op.f(f"ix_instant_starts_{column}"), "instant_starts", [column])
    op.create_table(
        "instant_disks",
        sa.Column("disk_id", IDENTIFIER, nullable=False),
        sa.Column("restore_id", IDENTIFIER, nullable=False),
        sa.Column("source_id", IDENTIFIER, nullable=False),
        sa.Column("done", WHOLE, nullable=False),
        sa.Column("total", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(
            ["restore_id"], ["instant_starts.restore_id"], name=op.f("fk_instant_disks_restore_id")
        ),
        sa.PrimaryKeyConstraint("disk_id", name=op.f("pk_instant_disks")),
    )
    op.create_index(op.f("ix_instant_disks_restore_id"), "instant_disks", ["restore_id"])
