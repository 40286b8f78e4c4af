"""Encryption at rest"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("luns") as table:
        table.add_column(sa.Column("wrapped_key", sa.String(length=255), nullable=True))
