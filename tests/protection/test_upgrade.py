"""Tenants from before backup policies get what new ones have; what ran under the SecNumCloud rules goes on."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command

from naos.api.app import area_modules
from naos.database import Database
from naos.migrations import config, upgrade
from naos.protection.models import BackupJob, BackupPolicy, MachinePolicy


def _insert(connection: sa.Connection, table_name: str, **values: Any) -> None:
    """A row as the tables of that time want it: what is not given is empty."""
    table = sa.Table(table_name, sa.MetaData(), autoload_with=connection)
    for column in table.columns:
        if column.name not in values and not column.nullable and column.server_default is None:
            kind = str(column.type)
            values[column.name] = (
                "2026-01-01 00:00:00" if "DATE" in kind else "[]" if "JSON" in kind else "" if "CHAR" in kind else 0
            )
    names = ", ".join(f'"{name}"' for name in values)
    connection.execute(
        sa.text(f"INSERT INTO {table_name} ({names}) VALUES ({', '.join(f':{name}' for name in values)})"),
        values,
    )


def test_tenants_of_before_are_furnished(tmp_path: Path) -> None:
    area_modules("models")
    database = Database(f"sqlite:///{tmp_path}/naos.db")
    command.upgrade(config(database), "0008")
    with database.engine.begin() as connection:
        _insert(connection, "organisations", id="o", name="Cloud")
        for tenant, snc in (("strict", True), ("free", False)):
            _insert(connection, "tenants", id=tenant, organisation_id="o", name=tenant, snc=snc)
            _insert(connection, "cpools", id=f"pool-{tenant}", tenant_id=tenant, name="pool")
            machine = {"tenant_id": tenant, "cpool_id": f"pool-{tenant}", "name": "web", "generation": 1}
            _insert(connection, "virtual_machines", id=f"web-{tenant}", **machine)
    upgrade(database)
    with database.read() as session:
        for tenant in ("strict", "free"):
            (policy,) = session.scalars(sa.select(BackupPolicy).where(BackupPolicy.tenant_id == tenant))
            assert (policy.name, policy.zone, policy.held) == ("nobackup", None, False)
            jobs = session.scalars(sa.select(BackupJob.name).where(BackupJob.tenant_id == tenant))
            assert sorted(jobs) == ["Hypervisor Inventory", "Storage Server Inventory"]
        assert list(session.scalars(sa.select(MachinePolicy.machine_id))) == ["web-strict"]
    database.close()
