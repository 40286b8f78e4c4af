"""What should be thought about a template"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("templates") as table:
        table.add_column(sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))
