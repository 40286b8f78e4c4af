"""Memory that snapshots hold"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "snapshot_memories",
        sa.Column("snapshot_id", sa.String(length=36), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("capacity", WHOLE, nullable=False),
        sa.Column("length", WHOLE, nullable=False),
        sa.Column("epoch", WHOLE, nullable=False),
        sa.Column("exported", sa.Boolean(), nullable=False),
        sa.Column("hardware", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_snapshot_memories_lun_id")),
        sa.PrimaryKeyConstraint("snapshot_id", name=op.f("pk_snapshot_memories")),
    )
    op.create_index(op.f("ix_snapshot_memories_lun_id"), "snapshot_memories", ["lun_id"])
    op.create_index(op.f("ix_snapshot_memories_machine_id"), "snapshot_memories", ["machine_id"])
