"""What volumes and disks do: figures over time"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "volume_figures",
        sa.Column("object_id", sa.String(length=36), nullable=False),
        sa.Column("resolution", WHOLE, nullable=False),
        sa.Column("at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("reads", WHOLE, nullable=False),
        sa.Column("writes", WHOLE, nullable=False),
        sa.Column("read_bytes", WHOLE, nullable=False),
        sa.Column("write_bytes", WHOLE, nullable=False),
        sa.Column("nanoseconds", WHOLE, nullable=False),
        sa.Column("latencies", sa.JSON(), nullable=False),
        sa.Column("device_operations", WHOLE, nullable=True),
        sa.Column("device_bytes", WHOLE, nullable=True),
        sa.Column("device_nanoseconds", WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("object_id", "resolution", "at", name=op.f("pk_volume_figures")),
    )
    op.create_index(op.f("ix_volume_figures_resolution"), "volume_figures", ["resolution", "at"])
