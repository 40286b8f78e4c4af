"""Runs that were still going when the next was due"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("backup_policy_runs") as table:
        table.add_column(sa.Column("overruns", WHOLE, nullable=False, server_default="0"))
        table.add_column(sa.Column("overran_at", naos_types.UtcDateTime(timezone=True), nullable=True))
