"""What a blade was last seen booted as"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blade_boots",
        sa.Column("blade", sa.String(63), nullable=False),
        sa.Column("boot", sa.String(255), nullable=False),
        sa.Column("seen_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("blade", name=op.f("pk_blade_boots")),
    )
