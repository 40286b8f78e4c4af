"""The first tables"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activities",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("actor_id", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=100), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=50), nullable=False),
        sa.Column("operation_type", sa.String(length=10), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("concerned", sa.JSON(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("locks", sa.JSON(), nullable=False),
        sa.Column("preemptible", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("undoing", sa.Boolean(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("progression", sa.Double(), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("started_at", naos_types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", naos_types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("undone", sa.JSON(), nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("build", sa.String(length=80), nullable=False),
        sa.Column("controller_id", sa.String(length=36), nullable=True),
        sa.Column("attempt", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("deaths", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("round", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activities")),
        sa.UniqueConstraint("sequence", name=op.f("uq_activities_sequence")),
    )
    with op.batch_alter_table("activities", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_activities_state"), ["state"], unique=False)
        batch_op.create_index("ix_activities_tenant", ["tenant_id", "sequence"], unique=False)

    op.create_table(
        "controllers",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("build", sa.String(length=80), nullable=False),
        sa.Column("started_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_controllers")),
    )
    op.create_table(
        "cpools",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=False),
        sa.Column("model", sa.String(length=63), nullable=False),
        sa.Column("memory", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cpools")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_cpools_tenant_id_name")),
    )
    with op.batch_alter_table("cpools", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cpools_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "libraries",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_libraries")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_libraries_tenant_id_name")),
    )
    with op.batch_alter_table("libraries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_libraries_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "luns",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=False),
        sa.Column("array", sa.String(length=63), nullable=False),
        sa.Column("storage_class", sa.String(length=32), nullable=False),
        sa.Column("capacity", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("port", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_luns")),
        sa.UniqueConstraint("array", "port", name=op.f("uq_luns_array_port")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_luns_tenant_id_name")),
    )
    with op.batch_alter_table("luns", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_luns_array"), ["array"], unique=False)
        batch_op.create_index(batch_op.f("ix_luns_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "organisations",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
        sa.UniqueConstraint("name", name=op.f("uq_organisations_name")),
    )
    op.create_table(
        "regions",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_regions")),
        sa.UniqueConstraint("name", name=op.f("uq_regions_name")),
    )
    op.create_table(
        "signing_keys",
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("file", sa.String(length=64), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("accepted_until", naos_types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "uploads",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_uploads_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "vlans",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("tag", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vlans")),
        sa.UniqueConstraint("tag", name=op.f("uq_vlans_tag")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_vlans_tenant_id_name")),
    )
    with op.batch_alter_table("vlans", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vlans_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "zones",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("region", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zones")),
        sa.UniqueConstraint("name", name=op.f("uq_zones_name")),
    )
    op.create_table(
        "activity_locks",
        sa.Column("activity_id", sa.String(length=36), nullable=False),
        sa.Column("resource", sa.String(length=255), nullable=False),
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["activity_id"], ["activities.id"], name=op.f("fk_activity_locks_activity_id")),
        sa.PrimaryKeyConstraint("activity_id", "resource", name=op.f("pk_activity_locks")),
    )
    with op.batch_alter_table("activity_locks", schema=None) as batch_op:
        batch_op.create_index("ix_activity_locks_resource", ["resource", "sequence"], unique=False)

    op.create_table(
        "activity_undo",
        sa.Column("activity_id", sa.String(length=36), nullable=False),
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["activity_id"], ["activities.id"], name=op.f("fk_activity_undo_activity_id")),
        sa.PrimaryKeyConstraint("activity_id", "position", name=op.f("pk_activity_undo")),
    )
    op.create_table(
        "adapters",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("vlan_id", sa.String(length=36), nullable=False),
        sa.Column("unit", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("mac_key", sa.String(length=17), nullable=False),
        sa.Column("mac_type", sa.String(length=16), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("connected", sa.Boolean(), nullable=False),
        sa.Column("auto_connect", sa.Boolean(), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["vlan_id"], ["vlans.id"], name=op.f("fk_adapters_vlan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adapters")),
        sa.UniqueConstraint("machine_id", "unit", name=op.f("uq_adapters_machine_id_unit")),
        sa.UniqueConstraint("tenant_id", "mac_key", name=op.f("uq_adapters_tenant_id_mac_key")),
    )
    with op.batch_alter_table("adapters", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_adapters_machine_id"), ["machine_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_adapters_tenant_id"), ["tenant_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_adapters_vlan_id"), ["vlan_id"], unique=False)

    op.create_table(
        "blades",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("zone", sa.String(length=63), nullable=False),
        sa.Column("model", sa.String(length=63), nullable=False),
        sa.Column("cpool_id", sa.String(length=36), nullable=True),
        sa.Column("connected", sa.Boolean(), nullable=False),
        sa.Column("hypervisor_version", sa.String(length=63), nullable=False),
        sa.Column("acceleration", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["cpool_id"], ["cpools.id"], name=op.f("fk_blades_cpool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blades")),
        sa.UniqueConstraint("name", name=op.f("uq_blades_name")),
    )
    with op.batch_alter_table("blades", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_blades_cpool_id"), ["cpool_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_blades_zone"), ["zone"], unique=False)

    op.create_table(
        "disks",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=True),
        sa.Column("unit", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("capacity", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("provisioning", sa.String(length=16), nullable=False),
        sa.Column("mode", sa.String(length=32), nullable=False),
        sa.Column("backing", sa.String(length=36), nullable=True),
        sa.Column("epoch", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("exported", sa.Boolean(), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["lun_id"], ["luns.id"], name=op.f("fk_disks_lun_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disks")),
        sa.UniqueConstraint("machine_id", "unit", name=op.f("uq_disks_machine_id_unit")),
    )
    with op.batch_alter_table("disks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_disks_lun_id"), ["lun_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_disks_machine_id"), ["machine_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_disks_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("activity_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["activity_id"], ["activities.id"], name=op.f("fk_idempotency_keys_activity_id")),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "templates",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("library_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("virtual_size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("checksum", sa.String(length=160), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["library_id"], ["libraries.id"], name=op.f("fk_templates_library_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_templates")),
        sa.UniqueConstraint("library_id", "name", name=op.f("uq_templates_library_id_name")),
    )
    with op.batch_alter_table("templates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_templates_library_id"), ["library_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_templates_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "tenants",
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("snc", sa.Boolean(), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_tenants_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("organisation_id", "name", name=op.f("uq_tenants_organisation_id_name")),
    )
    with op.batch_alter_table("tenants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tenants_organisation_id"), ["organisation_id"], unique=False)

    op.create_table(
        "users",
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("email_key", sa.String(length=320), nullable=False),
        sa.Column("email_verified", sa.Boolean(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("internal_id", sa.String(length=36), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("source_id", sa.String(length=255), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_users_organisation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("internal_id", name=op.f("uq_users_internal_id")),
        sa.UniqueConstraint("organisation_id", "email_key", name=op.f("uq_users_organisation_id_email_key")),
    )
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_users_organisation_id"), ["organisation_id"], unique=False)

    op.create_table(
        "virtual_machines",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("cpool_id", sa.String(length=36), nullable=False),
        sa.Column("lun_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("cpu", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cores_per_socket", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("memory", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hot_add_cpu", sa.Boolean(), nullable=False),
        sa.Column("hot_add_memory", sa.Boolean(), nullable=False),
        sa.Column("power", sa.String(length=16), nullable=False),
        sa.Column("blade", sa.String(length=63), nullable=True),
        sa.Column("reserved", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("template_id", sa.String(length=36), nullable=True),
        sa.Column("seed", sa.JSON(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("generation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["cpool_id"], ["cpools.id"], name=op.f("fk_virtual_machines_cpool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_virtual_machines")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_virtual_machines_tenant_id_name")),
    )
    with op.batch_alter_table("virtual_machines", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_virtual_machines_blade"), ["blade"], unique=False)
        batch_op.create_index(batch_op.f("ix_virtual_machines_cpool_id"), ["cpool_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_virtual_machines_lun_id"), ["lun_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_virtual_machines_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "vlan_propagations",
        sa.Column("vlan_id", sa.String(length=36), nullable=False),
        sa.Column("cpool_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["vlan_id"], ["vlans.id"], name=op.f("fk_vlan_propagations_vlan_id")),
        sa.PrimaryKeyConstraint("vlan_id", "cpool_id", name=op.f("pk_vlan_propagations")),
    )
    with op.batch_alter_table("vlan_propagations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vlan_propagations_cpool_id"), ["cpool_id"], unique=False)

    op.create_table(
        "organisation_owners",
        sa.Column("organisation_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_organisation_owners_organisation_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_organisation_owners_user_id")),
        sa.PrimaryKeyConstraint("organisation_id", "user_id", name=op.f("pk_organisation_owners")),
    )
    op.create_table(
        "permission_assignments",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("permission", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_permission_assignments_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_permission_assignments_user_id")),
        sa.PrimaryKeyConstraint("user_id", "tenant_id", "permission", name=op.f("pk_permission_assignments")),
    )
    with op.batch_alter_table("permission_assignments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_permission_assignments_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "personal_access_tokens",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("secret_hash", sa.String(length=255), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("expires_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", naos_types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", naos_types.UtcDateTime(timezone=True), nullable=True),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_personal_access_tokens_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_personal_access_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_personal_access_tokens")),
    )
    with op.batch_alter_table("personal_access_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_personal_access_tokens_tenant_id"), ["tenant_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_personal_access_tokens_user_id"), ["user_id"], unique=False)

    op.create_table(
        "tenant_features",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("feature", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_features_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "feature", name=op.f("pk_tenant_features")),
    )
    op.create_table(
        "tenant_owners",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_owners_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tenant_owners_user_id")),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_tenant_owners")),
    )
    with op.batch_alter_table("tenant_owners", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tenant_owners_user_id"), ["user_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("tenant_owners", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tenant_owners_user_id"))

    op.drop_table("tenant_owners")
    op.drop_table("tenant_features")
    with op.batch_alter_table("personal_access_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_personal_access_tokens_user_id"))
        batch_op.drop_index(batch_op.f("ix_personal_access_tokens_tenant_id"))

    op.drop_table("personal_access_tokens")
    with op.batch_alter_table("permission_assignments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_permission_assignments_tenant_id"))

    op.drop_table("permission_assignments")
    op.drop_table("organisation_owners")
    with op.batch_alter_table("vlan_propagations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vlan_propagations_cpool_id"))

    op.drop_table("vlan_propagations")
    with op.batch_alter_table("virtual_machines", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_virtual_machines_tenant_id"))
        batch_op.drop_index(batch_op.f("ix_virtual_machines_lun_id"))
        batch_op.drop_index(batch_op.f("ix_virtual_machines_cpool_id"))
        batch_op.drop_index(batch_op.f("ix_virtual_machines_blade"))

    op.drop_table("virtual_machines")
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_users_organisation_id"))

    op.drop_table("users")
    with op.batch_alter_table("tenants", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tenants_organisation_id"))

    op.drop_table("tenants")
    with op.batch_alter_table("templates", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_templates_tenant_id"))
        batch_op.drop_index(batch_op.f("ix_templates_library_id"))

    op.drop_table("templates")
    op.drop_table("idempotency_keys")
    with op.batch_alter_table("disks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_disks_tenant_id"))
        batch_op.drop_index(batch_op.f("ix_disks_machine_id"))
        batch_op.drop_index(batch_op.f("ix_disks_lun_id"))

    op.drop_table("disks")
    with op.batch_alter_table("blades", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_blades_zone"))
        batch_op.drop_index(batch_op.f("ix_blades_cpool_id"))

    op.drop_table("blades")
    with op.batch_alter_table("adapters", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_adapters_vlan_id"))
        batch_op.drop_index(batch_op.f("ix_adapters_tenant_id"))
        batch_op.drop_index(batch_op.f("ix_adapters_machine_id"))

    op.drop_table("adapters")
    op.drop_table("activity_undo")
    with op.batch_alter_table("activity_locks", schema=None) as batch_op:
        batch_op.drop_index("ix_activity_locks_resource")

    op.drop_table("activity_locks")
    op.drop_table("zones")
    with op.batch_alter_table("vlans", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vlans_tenant_id"))

    op.drop_table("vlans")
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_uploads_tenant_id"))

    op.drop_table("uploads")
    op.drop_table("signing_keys")
    op.drop_table("regions")
    op.drop_table("organisations")
    with op.batch_alter_table("luns", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_luns_tenant_id"))
        batch_op.drop_index(batch_op.f("ix_luns_array"))

    op.drop_table("luns")
    with op.batch_alter_table("libraries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_libraries_tenant_id"))

    op.drop_table("libraries")
    with op.batch_alter_table("cpools", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_cpools_tenant_id"))

    op.drop_table("cpools")
    op.drop_table("controllers")
    with op.batch_alter_table("activities", schema=None) as batch_op:
        batch_op.drop_index("ix_activities_tenant")
        batch_op.drop_index(batch_op.f("ix_activities_state"))

    op.drop_table("activities")
