"""Replication of volumes"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    identifier, moment = sa.String(length=36), naos_types.UtcDateTime(timezone=True)
    op.create_table(
        "lun_replications",
        sa.Column("tenant_id", identifier, nullable=False),
        sa.Column("lun_id", identifier, nullable=False),
        sa.Column("replica_id", identifier, nullable=False),
        sa.Column("grown", WHOLE, nullable=False),
        sa.Column("shaped", sa.String(length=32), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("point_id", identifier, nullable=True),
        sa.Column("instant", moment, nullable=True),
        sa.Column("running_id", identifier, nullable=True),
        sa.Column("running_since", moment, nullable=True),
        sa.Column("done", WHOLE, nullable=False),
        sa.Column("total", WHOLE, nullable=False),
        sa.Column("took", sa.Double(), nullable=False),
        sa.Column("travelled", WHOLE, nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("failures", WHOLE, nullable=False),
        sa.Column("alarmed_at", moment, nullable=True),
        sa.Column("id", identifier, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lun_replications")),
        sa.UniqueConstraint("lun_id", name=op.f("uq_lun_replications_lun_id")),
        sa.UniqueConstraint("replica_id", name=op.f("uq_lun_replications_replica_id")),
    )
    op.create_index(op.f("ix_lun_replications_tenant_id"), "lun_replications", ["tenant_id"])
