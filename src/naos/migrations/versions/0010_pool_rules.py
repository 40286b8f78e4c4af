"""Rules of cpools: affinity, rates, loads of blades"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types
from naos.migrations import blade_loads

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("cpools", sa.Column("vcpu_rate", WHOLE, nullable=True))
    op.add_column("cpools", sa.Column("memory_overcommit", WHOLE, nullable=False, server_default="100"))
    op.add_column("cpools", sa.Column("automation", sa.String(length=16), nullable=False, server_default="manual"))
    op.add_column("cpools", sa.Column("balance_threshold", WHOLE, nullable=False, server_default="20"))
    op.add_column("virtual_machines", sa.Column("moving_to", sa.String(length=63), nullable=True))
    op.create_index(op.f("ix_virtual_machines_moving_to"), "virtual_machines", ["moving_to"])
    op.create_table(
        "blade_loads",
        sa.Column("blade", sa.String(length=63), nullable=False),
        sa.Column("memory", WHOLE, nullable=False),
        sa.Column("vcpus", WHOLE, nullable=False),
        sa.Column("machines", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("blade", name=op.f("pk_blade_loads")),
    )
    op.create_table(
        "affinity_rules",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("cpool_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("must", sa.Boolean(), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cpool_id"], ["cpools.id"], name=op.f("fk_affinity_rules_cpool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_affinity_rules")),
        sa.UniqueConstraint("cpool_id", "name", name=op.f("uq_affinity_rules_cpool_id_name")),
    )
    op.create_index(op.f("ix_affinity_rules_tenant_id"), "affinity_rules", ["tenant_id"])
    op.create_table(
        "affinity_members",
        sa.Column("rule_id", sa.String(length=36), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["affinity_rules.id"], name=op.f("fk_affinity_members_rule_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("rule_id", "machine_id", name=op.f("pk_affinity_members")),
    )
    op.create_index(op.f("ix_affinity_members_machine_id"), "affinity_members", ["machine_id"])
    blade_loads.install(op.get_bind())
