"""Clones and moves"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "disk_moves",
        sa.Column("disk_id", sa.String(length=36), nullable=False),
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("epoch", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_disk_moves_lun_id")),
        sa.PrimaryKeyConstraint("disk_id", name=op.f("pk_disk_moves")),
    )
    op.create_index(op.f("ix_disk_moves_lun_id"), "disk_moves", ["lun_id"], unique=False)
