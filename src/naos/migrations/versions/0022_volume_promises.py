"""How far a volume may be promised"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("volume_policies") as table:
        table.add_column(sa.Column("overcommitment", WHOLE, nullable=True))
