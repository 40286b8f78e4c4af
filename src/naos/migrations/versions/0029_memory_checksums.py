"""Checksums of the memory that snapshots hold"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("snapshot_memories") as table:
        table.add_column(sa.Column("checksum", sa.String(64), nullable=False, server_default=""))
