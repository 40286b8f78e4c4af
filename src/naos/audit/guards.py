"""The triggers that keep the audit log append-only, whoever speaks to the database.

An entry can be removed only up to where the head says that the retention has come, and the head is sealed with a key that the
database does not have: see `verification`. A migration that rebuilds one of the two tables loses its triggers: `install` puts
them back.
"""

from typing import Any

import sqlalchemy as sa

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
STATEMENTS: dict[str, tuple[str, ...]] = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}
_PRESENT = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('audit_entries', 'audit_heads')",
    "postgresql": "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"
    " AND tgrelid IN (to_regclass('audit_entries'), to_regclass('audit_heads'))",
}
_TRIGGERS = 4
"""On either database."""


def install(connection: sa.Connection) -> None:
    """Make the triggers, unless they are all there."""
    present: Any = connection.exec_driver_sql(_PRESENT[connection.dialect.name]).scalar_one()
    if present < _TRIGGERS:
        for statement in STATEMENTS[connection.dialect.name]:
            connection.exec_driver_sql(statement)
