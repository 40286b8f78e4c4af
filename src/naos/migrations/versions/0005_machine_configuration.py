"""What a machine can be set to, and what it was seen to use"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from naos.database import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    added: list[sa.Column[Any]] = [
        sa.Column("hot_remove_cpu", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("memory_reservation", NUMBER, nullable=False, server_default="0"),
        sa.Column("nested", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("guest_os", sa.String(length=63), nullable=False, server_default="otherGuest64"),
        sa.Column("firmware", sa.String(length=8), nullable=False, server_default="bios"),
        sa.Column("secure_boot", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("boot_delay", NUMBER, nullable=False, server_default="0"),
        sa.Column("boot_retry", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("boot_retry_delay", NUMBER, nullable=False, server_default="10000"),
        sa.Column("enter_setup", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("extra_config", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("nvram", sa.Text(), nullable=False, server_default=""),
    ]
    with op.batch_alter_table("virtual_machines") as batch:
        for column in added:
            batch.add_column(column)
    with op.batch_alter_table("virtual_machines") as batch:
        for column in added:
            batch.alter_column(column.name, existing_type=column.type, server_default=None)
    op.create_table(
        "machine_samples",
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("cpu", NUMBER, nullable=False),
        sa.Column("memory", NUMBER, nullable=False),
        sa.Column("tools", sa.Boolean(), nullable=False),
        sa.Column("version", sa.String(length=63), nullable=False),
        sa.Column("seen_at", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("machine_id", name=op.f("pk_machine_samples")),
    )
