"""OVF items and the marketplace"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("templates") as batch:
        batch.add_column(sa.Column("descriptor", sa.JSON(), nullable=False, server_default="{}"))
    _disks()
    _exports()
    _marketplace()


def _disks() -> None:
    op.create_table(
        "template_disks",
        sa.Column("template_id", sa.String(length=36), nullable=False),
        sa.Column("position", WHOLE, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("controller", sa.String(length=64), nullable=False),
        sa.Column("capacity", WHOLE, nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("populated", WHOLE, nullable=False),
        sa.Column("checksum", sa.String(length=160), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["template_id"], ["templates.id"], name=op.f("fk_template_disks_template_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_template_disks")),
        sa.UniqueConstraint("template_id", "position", name=op.f("uq_template_disks_template_id_position")),
    )
    op.create_index(op.f("ix_template_disks_template_id"), "template_disks", ["template_id"], unique=False)
    # Until now an item was one disk, and its file had the item's id: so its first disk has.
    op.execute(
        "INSERT INTO template_disks (id, template_id, position, name, controller, capacity, size, populated, checksum)"
        " SELECT id, id, 0, 'Hard disk 1', '', virtual_size, size, size, checksum FROM templates"
        " WHERE type = 'ovf' AND checksum != ''"
    )


def _exports() -> None:
    op.create_table(
        "exports",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("source_id", sa.String(length=36), nullable=False),
        sa.Column("source_type", sa.String(length=32), nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("checksum", sa.String(length=160), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    op.create_index(op.f("ix_exports_tenant_id"), "exports", ["tenant_id"], unique=False)


def _marketplace() -> None:
    op.create_table(
        "marketplace_items",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("template_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("editor", sa.String(length=255), nullable=False),
        sa.Column("icon", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("description_en", sa.Text(), nullable=False),
        sa.Column("categories", sa.JSON(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("build", sa.String(length=64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("details_en", sa.JSON(), nullable=False),
        sa.Column("created_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["template_id"], ["templates.id"], name=op.f("fk_marketplace_items_template_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marketplace_items")),
        sa.UniqueConstraint("name", "version", "build", name=op.f("uq_marketplace_items_name_version_build")),
    )
    op.create_index(op.f("ix_marketplace_items_tenant_id"), "marketplace_items", ["tenant_id"], unique=False)
    op.create_index(op.f("ix_marketplace_items_template_id"), "marketplace_items", ["template_id"], unique=False)
