"""How fast the points of replicated volumes travel"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("lun_replications") as table:
        table.add_column(sa.Column("speed", WHOLE, nullable=False, server_default="0"))
        table.add_column(sa.Column("windows", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("time_zone", sa.String(length=64), nullable=False, server_default="UTC"))
