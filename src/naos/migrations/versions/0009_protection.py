"""Policies, their assignments, jobs; datastore clusters"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _datastore_clusters()


def _datastore_clusters() -> None:
    op.create_table(
        "datastore_clusters",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datastore_clusters")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_datastore_clusters_tenant_id_name")),
    )
    op.create_index(op.f("ix_datastore_clusters_tenant_id"), "datastore_clusters", ["tenant_id"])
    op.create_table(
        "datastore_cluster_members",
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("cluster_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_datastore_cluster_members_lun_id")),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["datastore_clusters.id"], name=op.f("fk_datastore_cluster_members_cluster_id")
        ),
        sa.PrimaryKeyConstraint("lun_id", name=op.f("pk_datastore_cluster_members")),
    )
    op.create_index(op.f("ix_datastore_cluster_members_cluster_id"), "datastore_cluster_members", ["cluster_id"])
    op.create_table(
        "lun_samples",
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("used", WHOLE, nullable=False),
        sa.Column("free", WHOLE, nullable=False),
        sa.Column("reachable", sa.Boolean(), nullable=False),
        sa.Column("measured_at", naos_types.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_lun_samples_lun_id")),
        sa.PrimaryKeyConstraint("lun_id", name=op.f("pk_lun_samples")),
    )
