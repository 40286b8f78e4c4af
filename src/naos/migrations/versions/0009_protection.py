"""Policies, their assignments, jobs; datastore clusters"""

import uuid

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
    _protection()
    _present_tenants()


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


def _protection() -> None:
    identifier, moment = sa.String(length=36), naos_types.UtcDateTime(timezone=True)
    op.create_table(
        "backup_policies",
        sa.Column("id", identifier, nullable=False),
        sa.Column("tenant_id", identifier, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_policies")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_backup_policies_tenant_id_name")),
    )
    op.create_index(op.f("ix_backup_policies_tenant_id"), "backup_policies", ["tenant_id"])
    op.create_table(
        "backup_schedules",
        sa.Column("policy_id", identifier, nullable=False),
        sa.Column("position", WHOLE, autoincrement=False, nullable=False),
        sa.Column("trigger", sa.String(length=16), nullable=False),
        sa.Column("frequency", WHOLE, nullable=False),
        sa.Column("retention", WHOLE, nullable=False),
        sa.Column("activate_at", moment, nullable=False),
        sa.ForeignKeyConstraint(["policy_id"], ["backup_policies.id"], name=op.f("fk_backup_schedules_policy_id")),
        sa.PrimaryKeyConstraint("policy_id", "position", name=op.f("pk_backup_schedules")),
    )
    op.create_table(
        "machine_policies",
        sa.Column("machine_id", identifier, nullable=False),
        sa.Column("policy_id", identifier, nullable=False),
        sa.ForeignKeyConstraint(["policy_id"], ["backup_policies.id"], name=op.f("fk_machine_policies_policy_id")),
        sa.PrimaryKeyConstraint("machine_id", "policy_id", name=op.f("pk_machine_policies")),
    )
    op.create_index(op.f("ix_machine_policies_policy_id"), "machine_policies", ["policy_id"])
    op.create_table(
        "disk_choices",
        sa.Column("disk_id", identifier, nullable=False),
        sa.Column("machine_id", identifier, nullable=False),
        sa.PrimaryKeyConstraint("disk_id", name=op.f("pk_disk_choices")),
    )
    op.create_index(op.f("ix_disk_choices_machine_id"), "disk_choices", ["machine_id"])
    op.create_table(
        "disk_policies",
        sa.Column("disk_id", identifier, nullable=False),
        sa.Column("policy_id", identifier, nullable=False),
        sa.ForeignKeyConstraint(["disk_id"], ["disk_choices.disk_id"], name=op.f("fk_disk_policies_disk_id")),
        sa.ForeignKeyConstraint(["policy_id"], ["backup_policies.id"], name=op.f("fk_disk_policies_policy_id")),
        sa.PrimaryKeyConstraint("disk_id", "policy_id", name=op.f("pk_disk_policies")),
    )
    op.create_index(op.f("ix_disk_policies_policy_id"), "disk_policies", ["policy_id"])
    op.create_table(
        "backup_jobs",
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("tenant_id", identifier, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("policy_id", identifier, nullable=True),
        sa.ForeignKeyConstraint(["policy_id"], ["backup_policies.id"], name=op.f("fk_backup_jobs_policy_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_backup_jobs")),
        sa.UniqueConstraint("policy_id", name=op.f("uq_backup_jobs_policy_id")),
        sa.UniqueConstraint("tenant_id", "type", "name", name=op.f("uq_backup_jobs_tenant_id_type_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_backup_jobs_tenant_id"), "backup_jobs", ["tenant_id"])
    op.create_table(
        "backup_runs",
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("tenant_id", identifier, nullable=False),
        sa.Column("job_number", WHOLE, nullable=False),
        sa.Column("activity_id", identifier, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.Column("total", WHOLE, nullable=False),
        sa.Column("success", WHOLE, nullable=False),
        sa.Column("failed", WHOLE, nullable=False),
        sa.Column("skipped", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["job_number"], ["backup_jobs.number"], name=op.f("fk_backup_runs_job_number")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_backup_runs")),
        sa.UniqueConstraint("activity_id", name=op.f("uq_backup_runs_activity_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_backup_runs_job_number"), "backup_runs", ["job_number"])
    op.create_index(op.f("ix_backup_runs_tenant_id"), "backup_runs", ["tenant_id"])
    op.create_table(
        "known_machines",
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("machine_id", identifier, nullable=False),
        sa.Column("tenant_id", identifier, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_known_machines")),
        sa.UniqueConstraint("machine_id", name=op.f("uq_known_machines_machine_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_known_machines_tenant_id"), "known_machines", ["tenant_id"])
    op.create_table(
        "known_disks",
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("disk_id", identifier, nullable=False),
        sa.Column("machine_id", identifier, nullable=False),
        sa.Column("tenant_id", identifier, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("unit", WHOLE, nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("volume_class", sa.String(length=32), nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_known_disks")),
        sa.UniqueConstraint("disk_id", name=op.f("uq_known_disks_disk_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_known_disks_machine_id"), "known_disks", ["machine_id"])
    op.create_index(op.f("ix_known_disks_tenant_id"), "known_disks", ["tenant_id"])
    op.create_table(
        "vault_samples",
        sa.Column("vault", sa.String(length=63), nullable=False),
        sa.Column("total", WHOLE, nullable=False),
        sa.Column("free", WHOLE, nullable=False),
        sa.Column("reachable", sa.Boolean(), nullable=False),
        sa.Column("measured_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("vault", name=op.f("pk_vault_samples")),
    )


def _present_tenants() -> None:
    """Tenants from before get what new ones have from their first moment; under the SecNumCloud rules their machines get `nobackup`,
    which says of them what was the case."""
    connection = op.get_bind()
    for tenant_id, snc in connection.execute(sa.text("SELECT id, snc FROM tenants")).all():
        policy_id = str(uuid.uuid4())
        connection.execute(
            sa.text(
                "INSERT INTO backup_policies (id, tenant_id, name, held, created_at)"
                " VALUES (:id, :tenant, 'nobackup', :held, CURRENT_TIMESTAMP)"
            ),
            {"id": policy_id, "tenant": tenant_id, "held": False},
        )
        for name in ("Hypervisor Inventory", "Storage Server Inventory"):
            connection.execute(
                sa.text("INSERT INTO backup_jobs (tenant_id, name, type) VALUES (:tenant, :name, 'catalog')"),
                {"tenant": tenant_id, "name": name},
            )
        if snc:
            connection.execute(
                sa.text(
                    "INSERT INTO machine_policies (machine_id, policy_id)"
                    " SELECT id, :policy FROM virtual_machines WHERE tenant_id = :tenant"
                ),
                {"policy": policy_id, "tenant": tenant_id},
            )
