"""The audit log as a chain: nothing can be changed, removed, moved, inserted or cut off without being found."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_server import BINARIES, server

from naos.audit import chain, guards, keys, retention
from naos.audit.errors import AuditHeadMissing, AuditKeyUnusable, AuditUnavailable
from naos.audit.journal import Entry, Journal, entries_table, heads_table
from naos.audit.models import AuditEntry, AuditHead, Event
from naos.audit.verification import verify
from naos.database import Base, Database

START = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
TABLES = [AuditEntry.__table__, AuditHead.__table__]
LENGTH = 9


class Clock:
    def __init__(self) -> None:
        self.wall, self.ticks = START, 0.0

    def now(self) -> datetime:
        self.wall += timedelta(seconds=1)
        return self.wall

    def monotonic(self) -> float:
        self.ticks += 10
        return self.ticks


def entry(number: int = 0, **changes: Any) -> Entry:
    told = {"method": "POST", "path": f"/x/{number}", "status": 200 + number, "user_name": "Ünïcode 🖥"}
    return Entry(Event.WRITE, str(uuid.uuid4()), **(told | changes))  # type: ignore[arg-type]


def journal_in(folder: Path, url: str | None = None, clock: Clock | None = None) -> Journal:
    database = Database(url or f"sqlite:///{folder}/naos.db")
    Base.metadata.create_all(database.engine, tables=TABLES)  # type: ignore[arg-type]
    clock = clock or Clock()
    journal = Journal(database, folder / "keys", months=18, now=clock.now, ticks=clock.monotonic)
    journal.open()
    return journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = journal_in(tmp_path)
    yield made
    made.database.close()


def unguarded(journal: Journal) -> None:
    """What somebody with every right on the database would do first."""
    with journal.database.engine.begin() as connection:
        for name in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")


def rows(journal: Journal) -> list[dict[str, Any]]:
    with journal.database.read() as session:
        return [dict(row) for row in session.execute(sa.select(entries_table).order_by("sequence")).mappings()]


# ---------------------------------------------------------------------------------------------------- any mutation


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """A log of `LENGTH` entries without its triggers; each example leaves it as it was."""
    made = journal_in(tmp_path_factory.mktemp("log"))
    for number in range(LENGTH):
        made.append(entry(number))
    unguarded(made)
    yield made
    made.database.close()


def _put_back(journal: Journal, before: list[dict[str, Any]], head: dict[str, Any]) -> None:
    with journal.database.engine.begin() as connection:
        for table, kept in ((entries_table, before), (heads_table, [head])):
            connection.execute(sa.delete(table))
            connection.execute(sa.insert(table), kept)


def _other(value: Any, salt: int) -> Any:
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1 + salt)
    if isinstance(value, int):
        return value + 100 + salt
    return (
        f"{value or ''}{salt}"[-36:]
        if value is None or len(value) < 16
        else value[:-1] + ("1" if value[-1] == "0" else "0")
    )


COLUMNS = [column.name for column in entries_table.columns]
HEAD_COLUMNS = [column.name for column in heads_table.columns if column.name != "id"]


@dataclass(frozen=True)
class Mutation:
    """One change of the tables, by somebody who has every right on them. `first`: the sequence that must be named."""

    kind: str
    place: int
    other: int
    column: str
    salt: int

    @property
    def first(self) -> int | None:
        if self.kind == "head":
            return None
        if self.kind == "insert":
            return LENGTH + 1
        return min(self.place, self.other) if self.kind == "swap" else self.place

    def statements(self, at: dict[int, dict[str, Any]], head: dict[str, Any]) -> list[Any]:
        row, other = at[self.place], at[self.other]
        this = entries_table.c.sequence == self.place
        update, both = sa.update(entries_table).where(this), entries_table.c.sequence.in_((self.place, self.other))
        swapped = [row | {"sequence": self.other}, other | {"sequence": self.place}]
        filled = [name for name in COLUMNS if entries_table.c[name].nullable and row[name] is not None]
        head_column = HEAD_COLUMNS[self.salt]
        choices: dict[str, list[Any]] = {
            "edit": [update.values({self.column: _other(row[self.column], self.salt)})],
            "empty": [update.values({filled[self.salt % len(filled)]: None})],
            "remove": [sa.delete(entries_table).where(this)],
            "swap": [sa.delete(entries_table).where(both), sa.insert(entries_table).values(swapped)],
            "insert": [sa.insert(entries_table).values(row | {"sequence": LENGTH + 1 + self.salt})],
            "copy": [update.values(other | {"sequence": self.place})],
            "renumber": [update.values(sequence=LENGTH + 5)],
            "head": [sa.update(heads_table).values({head_column: _other(head[head_column], self.salt)})],
        }
        return choices[self.kind]


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    place, other = draw(st.permutations(range(1, LENGTH + 1)))[:2]
    kind = draw(st.sampled_from(["edit", "empty", "remove", "swap", "insert", "copy", "renumber", "head"]))
    column = draw(st.sampled_from([name for name in COLUMNS if name != "sequence"]))
    return Mutation(kind, place, other, column, draw(st.integers(0, 5)))


@settings(max_examples=100, deadline=None)
@given(mutation=mutations())
def test_any_single_mutation_of_the_tables_is_found(written: Journal, mutation: Mutation) -> None:
    before = rows(written)
    with written.database.read() as session:
        head = dict(session.execute(sa.select(heads_table)).mappings().one())
    with written.database.engine.begin() as connection:
        for statement in mutation.statements({row["sequence"]: row for row in before}, head):
            connection.execute(statement)
    try:
        found = verify(written.database, written.key_folder)
        assert not found.sound
        assert found.reason
        assert mutation.first in (None, found.bad)
    finally:
        _put_back(written, before, head)
    assert verify(written.database, written.key_folder).sound


# --------------------------------------------------------------------------------------------- what needs more than one


def test_a_chain_built_anew_without_the_key_is_found_where_it_begins(journal: Journal) -> None:
    for number in range(6):
        journal.append(entry(number))
    unguarded(journal)
    kept = rows(journal)
    previous = kept[2]["hash"]
    forged = []
    for row in kept[3:]:
        changed = row | {"user_name": "Mallory"}
        previous = chain.entry_hash(changed, previous)
        forged.append(changed | {"hash": previous})
    with journal.database.engine.begin() as connection:
        for row in forged:
            connection.execute(sa.update(entries_table).where(entries_table.c.sequence == row["sequence"]).values(row))
        connection.execute(sa.update(heads_table).values(hash=previous))
    found = verify(journal.database, journal.key_folder)
    assert (found.sound, found.bad) == (False, 4)


def test_an_older_log_put_back_whole_is_found_by_the_file_beside_the_key(journal: Journal) -> None:
    for number in range(3):
        journal.append(entry(number))
    older, head = rows(journal), None
    with journal.database.read() as session:
        head = dict(session.execute(sa.select(heads_table)).mappings().one())
    for number in range(4):
        journal.append(entry(number))
    unguarded(journal)
    _put_back(journal, older, head)
    found = verify(journal.database, journal.key_folder)
    assert (found.sound, found.bad) == (False, 4)
    assert "put back" in found.reason


def test_an_empty_log_is_sound_and_one_without_head_is_not(journal: Journal) -> None:
    assert verify(journal.database, journal.key_folder).sound
    journal.append(entry())
    unguarded(journal)
    with journal.database.engine.begin() as connection:
        connection.execute(sa.delete(heads_table))
    assert not verify(journal.database, journal.key_folder).sound
    with pytest.raises(AuditHeadMissing, match="holds 1 entries"):
        journal.open()


def test_the_database_itself_refuses_to_change_or_remove(journal: Journal) -> None:
    journal.append(entry())
    _refuses_changes(journal)


def _refuses_changes(journal: Journal) -> None:
    for statement in (
        sa.update(entries_table).values(user_name="Mallory"),
        sa.delete(entries_table),
        sa.update(heads_table).values(sequence=0),
        sa.delete(heads_table),
    ):
        with pytest.raises(sa.exc.DBAPIError, match="audit log"), journal.database.engine.begin() as connection:
            connection.execute(statement)
    assert verify(journal.database, journal.key_folder).sound


def test_without_its_key_no_controller_goes_on(journal: Journal) -> None:
    (key,) = journal.key_folder.glob("audit-*.key")
    content = key.read_bytes()
    key.chmod(0o644)
    with pytest.raises(AuditKeyUnusable, match="others can reach it"):
        journal.open()
    key.chmod(0o600)
    key.write_bytes(bytes(reversed(content)))
    with pytest.raises(AuditKeyUnusable, match="another key"):
        journal.open()
    key.unlink()
    with pytest.raises(AuditKeyUnusable, match="Copy it from"):
        journal.open()
    assert not verify(journal.database, journal.key_folder).sound


def test_a_lost_or_known_key_is_replaced_and_what_it_sealed_stays_proven(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    for number in range(3):
        journal.append(entry(number))
    (old,) = journal.key_folder.glob("audit-*.key")
    other = journal_in(tmp_path)
    other.renew_key()
    journal.append(entry(4))
    assert verify(journal.database, journal.key_folder).checked == 5
    old.unlink()
    journal.open()
    journal.append(entry(5))
    assert verify(journal.database, journal.key_folder).sound
    unguarded(journal)
    kept = rows(journal)
    previous = kept[0]["hash"]
    with journal.database.engine.begin() as connection:
        for row in kept[1:3]:  # as somebody who knows the old key could write them
            changed = row | {"user_name": "Mallory"}
            previous = chain.entry_hash(changed, previous)
            this = entries_table.c.sequence == row["sequence"]
            connection.execute(sa.update(entries_table).where(this).values(changed | {"hash": previous}))
    assert verify(journal.database, journal.key_folder).bad == 4
    for made in (journal, other):
        made.database.close()


def test_what_cannot_be_written_is_said_to_every_writer(journal: Journal) -> None:
    with journal.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_entries RENAME TO away")
    failures: list[Exception] = []

    def write() -> None:
        try:
            journal.append(entry())
        except AuditUnavailable as error:
            failures.append(error)

    _together([write] * 4)
    assert len(failures) == 4
    with journal.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO audit_entries")
    journal.append(entry())
    assert verify(journal.database, journal.key_folder).checked == 1


# ----------------------------------------------------------------------------------------------------------- retention


def test_old_entries_go_and_the_rest_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    clock = Clock()
    journal = journal_in(tmp_path, clock=clock)
    for number in range(5):
        journal.append(entry(number))
    clock.wall = datetime(2027, 7, 31, 11, 0, tzinfo=UTC)
    for number in range(3):
        journal.append(entry(number))
    assert journal.purge() == 0
    clock.wall = datetime(2027, 7, 31, 13, 0, tzinfo=UTC)
    assert journal.purge() == 5
    left = rows(journal)
    assert [row["sequence"] for row in left] == [6, 7, 8, 9]
    assert left[-1]["event"] == "retention"
    assert '"removed":5,"through":5' in left[-1]["request"]
    found = verify(journal.database, journal.key_folder)
    assert (found.sound, found.first, found.last, found.checked) == (True, 6, 9, 4)
    _refuses_changes(journal)
    unguarded(journal)
    with journal.database.engine.begin() as connection:
        connection.execute(sa.delete(entries_table).where(entries_table.c.sequence == 6))
    assert verify(journal.database, journal.key_folder).bad == 6
    journal.database.close()


def test_a_clock_that_goes_back_removes_nothing_too_early(tmp_path: Path) -> None:
    clock = Clock()
    journal = journal_in(tmp_path, clock=clock)
    clock.wall = START + timedelta(days=600)
    journal.append(entry(1))
    clock.wall = START
    journal.append(entry(2))
    clock.wall = START + timedelta(days=700)
    assert journal.purge() == 0
    assert verify(journal.database, journal.key_folder).sound
    journal.database.close()


@pytest.mark.parametrize(
    ("now", "months", "expected"),
    [
        ((2026, 11, 26), 18, (2025, 5, 26)),
        ((2026, 8, 31), 18, (2025, 2, 28)),
        ((2024, 8, 31), 6, (2024, 2, 29)),
        ((2026, 12, 31), 12, (2025, 12, 31)),
        ((2026, 1, 1), 1, (2025, 12, 1)),
    ],
)
def test_months_are_those_of_the_calendar(
    now: tuple[int, int, int], months: int, expected: tuple[int, int, int]
) -> None:
    assert retention.cutoff(datetime(*now, tzinfo=UTC), months) == datetime(*expected, tzinfo=UTC)


def test_a_table_that_was_rebuilt_gets_its_guards_back(journal: Journal) -> None:
    journal.append(entry(1))
    with journal.database.engine.begin() as connection:
        for statement in (
            "CREATE TABLE rebuilt AS SELECT * FROM audit_entries",
            "DROP TABLE audit_entries",
            "ALTER TABLE rebuilt RENAME TO audit_entries",
        ):
            connection.exec_driver_sql(statement)
        guards.install(connection)
        guards.install(connection)
    _refuses_changes(journal)


# --------------------------------------------------------------------------------------------------------- concurrency


def _together(works: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def _write_from_two(first: Journal, second: Journal, *, each: int) -> None:
    sequences: list[int] = []

    def write(journal: Journal) -> None:
        sequences.extend(journal.append(entry(number)) for number in range(each))

    _together([lambda journal=journal: write(journal) for journal in (first, second) * 6])  # type: ignore[misc]
    assert sorted(sequences) == list(range(1, 12 * each + 1))
    for journal in (first, second):
        found = verify(journal.database, journal.key_folder)
        assert (found.sound, found.checked) == (True, 12 * each), found
    assert keys.read_seen(first.key_folder, chain.key_id(first.key)) is not None


def test_writers_of_one_controller_take_turns(journal: Journal) -> None:
    _write_from_two(journal, journal, each=10)


@pytest.mark.skipif(not BINARIES.is_dir(), reason="PostgreSQL's server is not installed")
def test_two_controllers_on_postgresql_write_one_chain(tmp_path: Path) -> None:
    with server() as running:
        url = running.create("audit")
        first, second = journal_in(tmp_path, url), journal_in(tmp_path, url)
        _write_from_two(first, second, each=20)
        _refuses_changes(first)
        with first.database.engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER audit_entries_whole ON audit_entries")
            guards.install(connection)
        with pytest.raises(sa.exc.DBAPIError, match="audit log"), first.database.engine.begin() as connection:
            connection.exec_driver_sql("TRUNCATE audit_entries")
        for made in (first, second):
            made.database.close()
