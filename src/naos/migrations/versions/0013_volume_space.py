"""Space: swap files, points over time, alarms, policies"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "swap_files",
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_swap_files_lun_id_luns")),
        sa.PrimaryKeyConstraint("machine_id", "lun_id", name=op.f("pk_swap_files")),
    )
    op.create_index(op.f("ix_swap_files_lun_id"), "swap_files", ["lun_id"])
    op.create_table(
        "volume_space",
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_volume_space_lun_id_luns")),
        sa.PrimaryKeyConstraint("lun_id", "at", name=op.f("pk_volume_space")),
    )
    op.create_table(
        "waiting_machines",
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("since", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_waiting_machines_lun_id_luns")),
        sa.PrimaryKeyConstraint("machine_id", "lun_id", name=op.f("pk_waiting_machines")),
    )
    op.create_table(
        "volume_policies",
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("headroom", WHOLE, nullable=False),
        sa.Column("snapshots", sa.String(length=8), nullable=False),
        sa.Column("reserve", WHOLE, nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("maintenance", sa.Boolean(), nullable=False),
        sa.Column("alarm", sa.String(length=8), nullable=False),
        sa.Column("alarm_since", naos_types.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_volume_policies_lun_id_luns")),
        sa.PrimaryKeyConstraint("lun_id", name=op.f("pk_volume_policies")),
    )
