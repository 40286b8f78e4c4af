"""How snapshots grow, and guests that may stand frozen"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "snapshot_growth",
        sa.Column("snapshot_id", sa.String(length=36), nullable=False),
        sa.Column("at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("held", WHOLE, nullable=False),
        sa.Column("measured_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshots.id"], name=op.f("fk_snapshot_growth_snapshot_id_snapshots")
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "at", name=op.f("pk_snapshot_growth")),
    )
    with op.batch_alter_table("machine_samples") as table:
        table.add_column(sa.Column("stuck", sa.Boolean(), nullable=False, server_default=sa.false()))
