"""What presses machines, and what pools had given to theirs"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("machine_samples") as table:
        table.add_column(sa.Column("steal", WHOLE, nullable=False, server_default="0"))
        table.add_column(sa.Column("swap", WHOLE, nullable=False, server_default="0"))
        table.add_column(sa.Column("balloon", WHOLE, nullable=False, server_default="0"))
    with op.batch_alter_table("pool_availability") as table:
        table.add_column(sa.Column("percent", WHOLE, nullable=False, server_default="0"))
    op.create_table(
        "pool_memory_figures",
        sa.Column("cpool_id", sa.String(length=36), nullable=False),
        sa.Column("at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("cpool_id", "at", name=op.f("pk_pool_memory_figures")),
    )
