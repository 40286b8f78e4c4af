"""Maintenance of blades and hypervisor builds"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    identifier, moment = sa.String(length=36), naos_types.UtcDateTime(timezone=True)
    op.add_column("blades", sa.Column("maintenance", sa.String(length=16), nullable=False, server_default=""))
    op.add_column("blades", sa.Column("maintenance_since", moment, nullable=True))
    op.add_column("blades", sa.Column("build", sa.String(length=63), nullable=False, server_default=""))
    op.create_table(
        "blade_moves",
        sa.Column("blade", sa.String(length=63), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=63), nullable=False),
        sa.Column("target", sa.String(length=63), nullable=False),
        sa.Column("place", WHOLE, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("blade", "machine_id", name=op.f("pk_blade_moves")),
    )
    op.create_table(
        "hypervisor_builds",
        sa.Column("id", identifier, nullable=False),
        sa.Column("version", sa.String(length=63), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("advisories", sa.JSON(), nullable=False),
        sa.Column("packages", sa.JSON(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("check_command", sa.Text(), nullable=False),
        sa.Column("reboot", sa.Boolean(), nullable=False),
        sa.Column("deadline", WHOLE, nullable=False),
        sa.Column("published_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hypervisor_builds")),
        sa.UniqueConstraint("version", name=op.f("uq_hypervisor_builds_version")),
    )
    op.create_table(
        "pool_updates",
        sa.Column("id", identifier, nullable=False),
        sa.Column("tenant_id", identifier, nullable=False),
        sa.Column("cpool_id", identifier, nullable=False),
        sa.Column("build_id", identifier, nullable=False),
        sa.Column("downtime", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.ForeignKeyConstraint(["build_id"], ["hypervisor_builds.id"], name=op.f("fk_pool_updates_build_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool_updates")),
    )
    for column in ("tenant_id", "cpool_id", "state"):
        op.create_index(op.f(f"ix_pool_updates_{column}"), "pool_updates", [column])
    op.create_table(
        "blade_updates",
        sa.Column("update_id", identifier, nullable=False),
        sa.Column("blade", sa.String(length=63), nullable=False),
        sa.Column("place", WHOLE, nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("rested", sa.Boolean(), nullable=False),
        sa.Column("activity_id", identifier, nullable=True),
        sa.Column("machines", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["update_id"], ["pool_updates.id"], name=op.f("fk_blade_updates_update_id")),
        sa.PrimaryKeyConstraint("update_id", "blade", name=op.f("pk_blade_updates")),
    )
    for table, key, length in (("blade_processors", "blade", 63), ("pool_processors", "cpool_id", 36)):
        op.create_table(
            table,
            sa.Column(key, sa.String(length=length), nullable=False),
            sa.Column("model", sa.String(length=63), nullable=False),
            sa.Column("features", sa.JSON(), nullable=False),
            sa.Column("definition", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint(key, name=op.f(f"pk_{table}")),
        )
    op.create_table(
        "machine_processors",
        sa.Column("machine_id", identifier, nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("machine_id", name=op.f("pk_machine_processors")),
    )
    op.create_table(
        "gpus",
        sa.Column("blade", sa.String(length=63), nullable=False),
        sa.Column("address", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("machine_id", identifier, nullable=True),
        sa.PrimaryKeyConstraint("blade", "address", name=op.f("pk_gpus")),
    )
    op.create_index(op.f("ix_gpus_machine_id"), "gpus", ["machine_id"])
    op.create_table(
        "machine_gpus",
        sa.Column("machine_id", identifier, nullable=False),
        sa.Column("count", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("machine_id", name=op.f("pk_machine_gpus")),
    )
