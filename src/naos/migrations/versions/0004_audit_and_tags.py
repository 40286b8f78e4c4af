"""The audit log, tags, and indexes for lists of activities"""

import sqlalchemy as sa
from alembic import op

from naos import database as naos_types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


_SQLITE = (
    """CREATE TRIGGER IF NOT EXISTS audit_entries_no_update BEFORE UPDATE ON audit_entries
    BEGIN SELECT RAISE(ABORT, 'The audit log is append-only: an entry is never changed.'); END""",
    """CREATE TRIGGER IF NOT EXISTS audit_entries_no_delete BEFORE DELETE ON audit_entries
    WHEN OLD.sequence > coalesce((SELECT purged_sequence FROM audit_heads), 0)
    BEGIN SELECT RAISE(ABORT, 'The audit log is append-only: an entry is removed only once the retention has passed it.'); END""",
    """CREATE TRIGGER IF NOT EXISTS audit_heads_forward BEFORE UPDATE ON audit_heads
    WHEN NEW.id <> OLD.id OR NEW.sequence < OLD.sequence OR NEW.purged_sequence < OLD.purged_sequence
    BEGIN SELECT RAISE(ABORT, 'The head of the audit log only moves forward, and is never removed.'); END""",
    """CREATE TRIGGER IF NOT EXISTS audit_heads_no_delete BEFORE DELETE ON audit_heads
    BEGIN SELECT RAISE(ABORT, 'The head of the audit log only moves forward, and is never removed.'); END""",
)
_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION audit_entries_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.sequence <= (SELECT purged_sequence FROM audit_heads) THEN RETURN OLD; END IF;
            RAISE EXCEPTION 'The audit log is append-only: an entry is removed only once the retention has passed it.';
        ELSIF TG_OP = 'TRUNCATE' THEN
            RAISE EXCEPTION 'The audit log is append-only: an entry is removed only once the retention has passed it.';
        END IF;
        RAISE EXCEPTION 'The audit log is append-only: an entry is never changed.';
    END $$""",
    """CREATE OR REPLACE FUNCTION audit_heads_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF NEW.id = OLD.id AND NEW.sequence >= OLD.sequence AND NEW.purged_sequence >= OLD.purged_sequence THEN
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION 'The head of the audit log only moves forward, and is never removed.';
    END $$""",
    """CREATE OR REPLACE TRIGGER audit_entries_rows BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION audit_entries_guard()""",
    """CREATE OR REPLACE TRIGGER audit_entries_whole BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_guard()""",
    """CREATE OR REPLACE TRIGGER audit_heads_rows BEFORE UPDATE OR DELETE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION audit_heads_guard()""",
    """CREATE OR REPLACE TRIGGER audit_heads_whole BEFORE TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION audit_heads_guard()""",
)


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column(
            "sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=True),
        sa.Column("organisation_id", sa.String(length=36), nullable=True),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("user_name", sa.String(length=255), nullable=True),
        sa.Column("token_id", sa.String(length=36), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("objects", sa.Text(), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("status", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("activity_id", sa.String(length=36), nullable=True),
        sa.Column("code", sa.String(length=100), nullable=True),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_at"), "audit_entries", ["at"], unique=False)
    op.create_index(op.f("ix_audit_entries_request_id"), "audit_entries", ["request_id"], unique=False)
    op.create_index("ix_audit_entries_tenant", "audit_entries", ["tenant_id", "sequence"], unique=False)
    op.create_table(
        "audit_heads",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("purged_sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("purged_hash", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("seal", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "tags",
        sa.Column("resource_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("tenant_id", sa.String(length=36), nullable=False),
        sa.Column("resource_type", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed_at", naos_types.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("resource_id", "key", name=op.f("pk_tags")),
    )
    op.create_index(op.f("ix_tags_tenant_id"), "tags", ["tenant_id"], unique=False)
    op.create_index("ix_activities_made", "activities", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index(op.f("ix_activities_stopped_at"), "activities", ["stopped_at"], unique=False)
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
