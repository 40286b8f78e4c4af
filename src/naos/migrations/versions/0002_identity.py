"""Identity: grants, owners, allowed addresses"""

import sqlalchemy as sa
from alembic import op

from naos.database import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tenants") as batch:
        batch.add_column(sa.Column("description", sa.String(length=1024), nullable=False, server_default=""))
    with op.batch_alter_table("tenants") as batch:
        batch.alter_column("description", existing_type=sa.String(length=1024), server_default=None)
    with op.batch_alter_table("signing_keys") as batch:
        batch.add_column(sa.Column("sessions_end_at", UtcDateTime(timezone=True), nullable=True))
    op.create_table(
        "invitations",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_invitations_user_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    op.create_table(
        "allowed_addresses",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_allowed_addresses_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allowed_addresses")),
        sa.UniqueConstraint("tenant_id", "network", name=op.f("uq_allowed_addresses_tenant_id_network")),
    )
