"""Changes of rights and of keys by several controllers at once, on PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres_server import server

from naos.database import Base, Database
from naos.errors import NaosError
from naos.identity import Identity
from naos.tenancy import accounts, grants, keys, members, models, owners
from naos.tenancy.models import Assignment, Organisation, OrganisationOwner, SigningKey, User
from naos.tenancy.permissions import permissions

ROUNDS = 6


@pytest.fixture(scope="module")
def controllers() -> Iterator[tuple[Database, Database]]:
    """Two controllers' ways into one database."""
    mapped = [each for each in vars(models).values() if isinstance(each, type) and hasattr(each, "__tablename__")]
    with server() as postgres:
        url = postgres.create("rights")
        first, second = Database(url), Database(url)
        Base.metadata.create_all(first.engine, tables=[sa.inspect(each).local_table for each in mapped])
        yield first, second
        first.close()
        second.close()


def _at_once(*steps: Callable[[], None]) -> list[bool]:
    """Do the steps at the same moment; which of them were done and not refused."""
    gate, done = threading.Barrier(len(steps)), [False] * len(steps)

    def run(number: int) -> None:
        gate.wait(10)
        try:
            steps[number]()
        except NaosError:
            return
        done[number] = True

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return done


def _people(database: Database, name: str, count: int) -> tuple[str, str, list[str]]:
    """An organisation of its own with one tenant: ids of organisation, tenant and users, none of whom holds anything."""
    with database.write() as session:
        company = members.ensure_organisation(session, name)
        home = members.ensure_tenant(session, company, "home")
        made = [members.ensure_user(session, company, name=f"u{n}", email=f"u{n}@example.org") for n in range(count)]
        for user in made:
            user.email_verified = True
        return company.id, home.id, [user.id for user in made]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_owners_who_remove_each_other_leave_one(controllers: tuple[Database, Database], number: int) -> None:
    company, home, (ada, grace) = _people(controllers[0], f"owners-{number}", 2)
    with controllers[0].write() as session:
        for user in (ada, grace):
            members.make_organisation_owner(session, session.get_one(User, user))

    def remove(database: Database, who: str, whom: str) -> Callable[[], None]:
        def step() -> None:
            caller = Identity(who, home, company, frozenset(permissions()), "")
            with database.write() as session:
                owners.remove_organisation_owner(session, caller, whom)

        return step

    done = _at_once(remove(controllers[0], ada, grace), remove(controllers[1], grace, ada))
    assert sorted(done) == [False, True]
    with controllers[0].read() as session:
        mine = sa.select(sa.func.count()).where(OrganisationOwner.organisation_id == company)
        assert session.scalar(mine) == 1


@pytest.mark.parametrize("number", range(ROUNDS))
def test_what_is_withdrawn_is_not_passed_on_at_the_same_moment(
    controllers: tuple[Database, Database], number: int
) -> None:
    """Either the grant came first, or the grantor held it no more: never a grant after the withdrawal."""
    company, home, (root, grantor, friend) = _people(controllers[0], f"grants-{number}", 3)
    with controllers[0].write() as session:
        members.make_organisation_owner(session, session.get_one(User, root))
        for name in ("iam_write", "tag_read"):
            session.add(Assignment(user_id=grantor, tenant_id=home, permission=name))
    every = frozenset(permissions())
    order: list[str] = []

    def withdraw() -> None:
        with controllers[0].write() as session:
            grants.withdraw(session, Identity(root, home, company, every, ""), grantor, ["tag_read"])
            order.append("withdrawn")

    def grant() -> None:
        caller = Identity(grantor, home, company, frozenset({"iam_write", "tag_read"}), "")
        with controllers[1].write() as session:
            grants.grant(session, caller, friend, ["tag_read"])
            order.append("granted")

    withdrawn, granted = _at_once(withdraw, grant)
    assert withdrawn
    assert order == (["granted", "withdrawn"] if granted else ["withdrawn"])


@pytest.mark.parametrize("number", range(ROUNDS))
def test_one_account_for_one_address(controllers: tuple[Database, Database], number: int) -> None:
    company, home, (root,) = _people(controllers[0], f"accounts-{number}", 1)
    with controllers[0].write() as session:
        members.make_organisation_owner(session, session.get_one(User, root))

    def invite(database: Database) -> None:
        caller = Identity(root, home, company, frozenset(permissions()), "")
        with database.write() as session:
            accounts.invite(session, caller, name="x", email="x@example.org", now=datetime.now(UTC))

    done = _at_once(lambda: invite(controllers[0]), lambda: invite(controllers[1]))
    assert sorted(done) == [False, True]
    with controllers[0].read() as session:
        assert session.get(Organisation, company) is not None


def test_a_key_is_accepted_as_long_as_any_session_that_it_signed(
    controllers: tuple[Database, Database], tmp_path: Path
) -> None:
    """Controllers sign while another rotates: no session ends after its key does."""
    now = datetime.now(UTC).replace(microsecond=0)
    with controllers[0].write() as session:
        keys.open_keys(session, tmp_path, now)
    signed: list[tuple[str, datetime]] = []

    def sign(database: Database, first: int) -> None:
        for minutes in range(first, first + 60, 2):
            ends = now + timedelta(minutes=minutes)
            with database.write() as session:
                signed.append((keys.sign_until(session, tmp_path, ends)[0], ends))

    def rotate() -> None:
        for _ in range(6):
            with controllers[0].write() as session:
                keys.rotate_key(session, tmp_path, now=now)

    assert _at_once(lambda: sign(controllers[0], 1), lambda: sign(controllers[1], 2), rotate) == [True] * 3
    with controllers[0].read() as session:
        until = {key.id: key.accepted_until for key in session.scalars(sa.select(SigningKey))}
    assert len(signed) == 60
    assert list(until.values()).count(None) == 1
    for key_id, ends in signed:
        accepted = until[key_id]
        assert accepted is None or accepted >= ends


def test_a_read_sees_all_tables_as_they_were_at_one_instant(controllers: tuple[Database, Database]) -> None:
    first, second = controllers
    with first.read() as session:
        before = session.scalar(sa.select(sa.func.count()).select_from(Organisation))
        with second.write() as other:
            members.ensure_organisation(other, "made meanwhile")
        assert session.scalar(sa.select(sa.func.count()).select_from(Organisation)) == before
    with first.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Organisation)) == (before or 0) + 1
