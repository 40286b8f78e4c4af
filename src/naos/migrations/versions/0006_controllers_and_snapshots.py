"""Virtual controllers, disk modes, snapshots"""

import uuid

import sqlalchemy as sa
from alembic import op

from naos.database import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "virtual_controllers",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("sub_type", sa.String(length=16), nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("place", NUMBER, nullable=False),
        sa.Column("item_id", sa.String(length=36), nullable=True),
        sa.Column("connected", sa.Boolean(), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_virtual_controllers")),
        sa.UniqueConstraint("machine_id", "type", "number", name=op.f("uq_virtual_controllers_machine_id_type_number")),
    )
    op.create_table(
        "snapshots",
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("machine_id", sa.String(length=36), nullable=False),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("quiesced", sa.Boolean(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("lifecycle", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "snapshot_disks",
        sa.Column("snapshot_id", sa.String(length=36), nullable=False),
        sa.Column("disk_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name=op.f("fk_snapshot_disks_snapshot_id")),
        sa.PrimaryKeyConstraint("snapshot_id", "disk_id", name=op.f("pk_snapshot_disks")),
    )
    for table, column in (
        ("virtual_controllers", "tenant_id"),
        ("virtual_controllers", "machine_id"),
        ("virtual_controllers", "item_id"),
        ("snapshots", "tenant_id"),
        ("snapshots", "machine_id"),
        ("snapshot_disks", "disk_id"),
    ):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)
    with op.batch_alter_table("disks") as batch:
        batch.add_column(sa.Column("controller_id", sa.String(length=36), nullable=True))
        batch.add_column(sa.Column("slot", NUMBER, nullable=False, server_default="0"))
    _hang_up_disks()
    with op.batch_alter_table("disks") as batch:
        batch.alter_column("slot", server_default=None)
        batch.create_unique_constraint(op.f("uq_disks_controller_id_slot"), ["controller_id", "slot"])


def _hang_up_disks() -> None:
    """Disks have been devices of the PCI bus until now: each machine gets the row for that."""
    connection = op.get_bind()
    machines = connection.execute(
        sa.text("SELECT DISTINCT machine_id, tenant_id FROM disks WHERE machine_id IS NOT NULL")
    ).all()
    for machine_id, tenant_id in machines:
        values = {"id": str(uuid.uuid4()), "tenant": tenant_id, "machine": machine_id, "no": False}
        connection.execute(
            sa.text(
                "INSERT INTO virtual_controllers (id, tenant_id, machine_id, type, sub_type, number, device, place,"
                " connected, lifecycle) VALUES (:id, :tenant, :machine, 'PCI', '', 0, 'virtio-blk', 0, :no, 'active')"
            ),
            values,
        )
        connection.execute(
            sa.text("UPDATE disks SET controller_id = :id, slot = unit WHERE machine_id = :machine"),
            {"id": values["id"], "machine": machine_id},
        )
