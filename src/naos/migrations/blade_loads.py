"""What each blade carries, kept by the database itself: triggers on the machines' table keep `blade_loads`.

Every path that changes a machine is covered in its own transaction, statements over many rows included, and a decision about a
place costs the same however many machines there are. A machine that has memory set aside counts on its blade, and on the one
that it is moving to. Later migrations that rebuild the machines' table lose its triggers: `upgrade` puts them back.
"""

from typing import Any

import sqlalchemy as sa

_EVENTS = {"insert": "INSERT", "delete": "DELETE", "update": "UPDATE OF blade, moving_to, reserved, cpu"}
_PLACES = ("{row}.blade IS NOT NULL", "{row}.moving_to IS NOT NULL AND {row}.moving_to IS DISTINCT FROM {row}.blade")
_NAMES = frozenset(f"blade_loads_{event}" for event in _EVENTS)

_ADD = (
    "INSERT INTO blade_loads (blade, memory, vcpus, machines) SELECT {place}, {row}.reserved, {row}.cpu, 1"
    " WHERE {row}.reserved > 0 AND {condition}"
    " ON CONFLICT (blade) DO UPDATE SET memory = blade_loads.memory + excluded.memory,"
    " vcpus = blade_loads.vcpus + excluded.vcpus, machines = blade_loads.machines + excluded.machines;"
)
_TAKE = (
    "UPDATE blade_loads SET memory = memory - {row}.reserved, vcpus = vcpus - {row}.cpu, machines = machines - 1"
    " WHERE {row}.reserved > 0 AND {condition} AND blade_loads.blade = {place};"
)
SUM = (
    "SELECT blade, SUM(memory) AS memory, SUM(vcpus) AS vcpus, SUM(machines) AS machines FROM ("
    " SELECT blade, reserved AS memory, cpu AS vcpus, 1 AS machines FROM virtual_machines"
    " WHERE reserved > 0 AND blade IS NOT NULL UNION ALL"
    " SELECT moving_to, reserved, cpu, 1 FROM virtual_machines"
    " WHERE reserved > 0 AND moving_to IS NOT NULL AND moving_to IS DISTINCT FROM blade) AS carried GROUP BY blade"
)
"""The same figures from the machines themselves."""


def install(connection: sa.Connection) -> None:
    """Make the triggers and fill the table, unless the triggers are all there."""
    if _present(connection) >= _NAMES:
        return
    sqlite = connection.dialect.name == "sqlite"
    for event, when in _EVENTS.items():
        name = f"blade_loads_{event}"
        parts = [_statements(_TAKE, "OLD")] if event != "insert" else []
        parts += [_statements(_ADD, "NEW")] if event != "delete" else []
        body = " ".join(parts)
        for statement in _sqlite(name, when, body) if sqlite else _postgresql(name, when, body):
            connection.exec_driver_sql(statement)
    recount(connection)


def recount(connection: sa.Connection) -> None:
    """Write what the machines add up to."""
    connection.exec_driver_sql("DELETE FROM blade_loads")
    connection.exec_driver_sql(f"INSERT INTO blade_loads (blade, memory, vcpus, machines) {SUM}")


def _present(connection: sa.Connection) -> set[str]:
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'virtual_machines'"
    else:
        query = "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass('virtual_machines') AND NOT tgisinternal"
    rows: list[Any] = list(connection.exec_driver_sql(query))
    return {str(row[0]) for row in rows}


def _statements(pattern: str, row: str) -> str:
    places = (f"{row}.blade", f"{row}.moving_to")
    return " ".join(
        pattern.format(row=row, place=place, condition=condition.format(row=row))
        for place, condition in zip(places, _PLACES, strict=True)
    )


def _sqlite(name: str, when: str, body: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS {name}",
        f"CREATE TRIGGER {name} AFTER {when} ON virtual_machines BEGIN {body} END",
    ]


def _postgresql(name: str, when: str, body: str) -> list[str]:
    return [
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$",
        f"DROP TRIGGER IF EXISTS {name} ON virtual_machines",
        f"CREATE TRIGGER {name} AFTER {when} ON virtual_machines FOR EACH ROW EXECUTE FUNCTION {name}()",
    ]
