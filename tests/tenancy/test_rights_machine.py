"""Whatever people do with rights, in whatever order: nobody gains what their grantor did not hold, no tenant loses its owner.

A model beside the tables knows only what was given by whom; the tables must agree with it after every step.
"""

import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from naos.database import Base, Database
from naos.errors import NaosError
from naos.identity import Identity
from naos.tenancy import accounts, grants, members, models, owners, tenants, tokens
from naos.tenancy.models import Assignment, OrganisationOwner, Tenant, TenantOwner, User
from naos.tenancy.permissions import permissions
from naos.tenancy.rules import to_milliseconds
from naos.tenancy.tokens import utc_now

FEATURES = ("iam", "tag", "network_vpc")
NAMES = [name for name, permission in permissions().items() if permission.area in FEATURES]
PEOPLE = 4
someone = st.integers(min_value=0, max_value=PEOPLE - 1)
place = st.integers(min_value=0, max_value=1)
some_rights = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
some_carried = st.none() | some_rights.map(lambda names: ["iam_write", *names])


class Rights(RuleBasedStateMachine):
    """`seen`: what each person has ever held in each tenant, and rightly so."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.database = Database(f"sqlite:///{Path(self.folder.name)}/naos.db")
        Base.metadata.create_all(self.database.engine)  # deleting looks at every area's tables
        with self.database.write() as session:
            company = members.ensure_organisation(session, "Org")
            self.company = company.id
            self.tenants = [members.ensure_tenant(session, company, name, features=FEATURES).id for name in "ab"]
            self.people: list[str] = []
            for number in range(PEOPLE):
                user = members.ensure_user(session, company, name=f"p{number}", email=f"p{number}@example.org")
                user.email_verified = number < PEOPLE - 1
                self.people.append(user.id)
            for root in (0, 2):
                members.make_organisation_owner(session, session.get_one(User, self.people[root]))
            for tenant in self.tenants:
                for name in ("iam_write", "tag_read"):
                    session.add(Assignment(user_id=self.people[1], tenant_id=tenant, permission=name))
            for tenant in self.tenants:
                members.make_tenant_owner(
                    session, session.get_one(Tenant, tenant), session.get_one(User, self.people[0])
                )
        self.held, self.refused = self._held(), False

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()

    # --------------------------------------------------------------------------------------------------------- the steps

    @rule(who=someone, whom=someone, where=place, wanted=some_rights, carried=some_carried)
    def give(self, who: int, whom: int, where: int, wanted: list[str], carried: list[str] | None) -> None:
        caller = self._caller(who, where, carried)
        given = self._try(lambda session: grants.grant(session, caller, self.people[whom], wanted))
        if given:
            assert {"iam_write", *wanted} <= caller.permissions & self.held[who, where], "given what was not held"
            assert whom < PEOPLE - 1, "given to an account that is not confirmed"

    @rule(who=someone, whom=someone, where=place, unwanted=some_rights)
    def take(self, who: int, whom: int, where: int, unwanted: list[str]) -> None:
        caller = self._caller(who, where, None)
        if self._try(lambda session: grants.withdraw(session, caller, self.people[whom], unwanted)):
            assert {"iam_write", *unwanted} <= self.held[who, where]
            assert not self._holds(whom, where) & set(unwanted)

    @rule(who=someone, whom=someone, where=place, at=place, carried=some_carried)
    def make_tenant_owner(self, who: int, whom: int, where: int, at: int, carried: list[str] | None) -> None:
        caller = self._caller(who, where, carried)
        made = self._try(lambda session: owners.add_tenant_owner(session, caller, self.tenants[at], self.people[whom]))
        if made:
            assert carried is None or self.held[who, where] <= set(carried), "a weak token made an owner"
            assert self.held[who, at] == set(NAMES), "somebody who does not hold everything made an owner"

    @rule(who=someone, whom=someone, where=place, at=place)
    def unmake_tenant_owner(self, who: int, whom: int, where: int, at: int) -> None:
        caller = self._caller(who, where, None)
        gone = self._try(
            lambda session: owners.remove_tenant_owner(session, caller, self.tenants[at], self.people[whom])
        )
        assert not (gone and who == whom)

    @rule(who=someone, whom=someone, where=place, carried=some_carried)
    def make_organisation_owner(self, who: int, whom: int, where: int, carried: list[str] | None) -> None:
        caller = self._caller(who, where, carried)
        if self._try(lambda session: owners.add_organisation_owner(session, caller, self.people[whom])):
            assert carried is None or self.held[who, where] <= set(carried)
            assert all(self.held[who, tenant] == set(NAMES) for tenant in (0, 1))

    @rule(who=someone, whom=someone, where=place)
    def unmake_organisation_owner(self, who: int, whom: int, where: int) -> None:
        caller = self._caller(who, where, None)
        gone = self._try(lambda session: owners.remove_organisation_owner(session, caller, self.people[whom]))
        assert not (gone and who == whom)

    @rule(who=someone, whom=someone, where=place)
    def delete_account(self, who: int, whom: int, where: int) -> None:
        """And come back as a new account, which holds nothing."""
        caller, old = self._caller(who, where, None), self.people[whom]
        if not self._try(lambda session: accounts.delete(session, caller, old)):
            return
        assert who != whom
        with self.database.write() as session:
            company = session.get_one(models.Organisation, self.company)
            again = members.ensure_user(session, company, name=f"p{whom}", email=f"p{whom}@example.org")
            again.email_verified = whom < PEOPLE - 1
            self.people[whom] = again.id
        assert not self._holds(whom, 0) | self._holds(whom, 1)

    @rule(who=someone, where=place, at=place, wanted=some_rights, carried=some_carried)
    def make_token(self, who: int, where: int, at: int, wanted: list[str], carried: list[str] | None) -> None:
        caller = self._caller(who, where, carried)
        request = tokens.TokenRequest(
            "t", [permissions()[name].id for name in wanted], to_milliseconds(utc_now()) + 60_000, self.tenants[at]
        )
        if self._try(lambda session: tokens.create_token(session, caller, request, utc_now())):
            assert set(wanted) <= caller.permissions & self.held[who, at], (
                "a token that carries what its maker does not"
            )

    @rule(who=someone, where=place, at=place, some=st.lists(st.sampled_from(FEATURES), unique=True))
    def enable(self, who: int, where: int, at: int, some: list[str]) -> None:
        """Some features for a while, then all again: nobody holds anything else afterwards."""
        caller = self._caller(who, where, None)
        if self._try(lambda session: tenants.set_features(session, caller, self.tenants[at], some)):
            now = self._held()
            assert all(now[key] <= self.held[key] for key in now)
            with self.database.write() as session:
                root = session.scalars(sa.select(OrganisationOwner.user_id)).first()
                every = frozenset(permissions())
                admin = Identity(str(root), self.tenants[at], self.company, every, "")
                tenants.set_features(session, admin, self.tenants[at], FEATURES)
            assert self._held() == self.held

    # ------------------------------------------------------------------------------------------------------- what holds

    @invariant()
    def somebody_owns_everything(self) -> None:
        if hasattr(self, "tenants"):
            with self.database.read() as session:
                for tenant in self.tenants:
                    assert session.scalar(sa.select(sa.func.count()).where(TenantOwner.tenant_id == tenant))
                assert session.scalar(sa.select(sa.func.count(OrganisationOwner.user_id)))

    @invariant()
    def rights_are_what_was_given(self) -> None:
        """An owner holds all, anybody else what the table says, and an account that is not confirmed nothing."""
        if not hasattr(self, "tenants"):
            return
        before, self.held = self.held, self._held()
        assert not self.refused or self.held == before, "a refusal changes nothing"
        self.refused = False
        with self.database.read() as session:
            roots = set(session.scalars(sa.select(OrganisationOwner.user_id)))
            for who, person in enumerate(self.people):
                for where, tenant in enumerate(self.tenants):
                    own = person in roots or session.get(TenantOwner, (tenant, person)) is not None
                    rows = sa.select(Assignment.permission).where(
                        Assignment.user_id == person, Assignment.tenant_id == tenant
                    )
                    assert self.held[who, where] == (set(NAMES) if own else set(session.scalars(rows)))
        assert not self.held[PEOPLE - 1, 0] | self.held[PEOPLE - 1, 1]

    # ------------------------------------------------------------------------------------------------------------- tools

    def _caller(self, who: int, where: int, carried: list[str] | None) -> Identity:
        """Somebody with a token of `carried` (None: of everything), as the API knows them."""
        held = frozenset(self.held[who, where])
        carries = held if carried is None else held & set(carried)
        return Identity(self.people[who], self.tenants[where], self.company, carries, "")

    def _try(self, step: Any) -> bool:
        """Do a step; whether it was done."""
        try:
            with self.database.write() as session:
                step(session)
        except NaosError:
            self.refused = True
            return False
        return True

    def _holds(self, who: int, where: int) -> set[str]:
        with self.database.read() as session:
            return set(members.effective_permissions(session, self.people[who], self.tenants[where]))

    def _held(self) -> dict[tuple[int, int], set[str]]:
        with self.database.read() as session:
            return {
                (who, where): set(members.effective_permissions(session, person, tenant))
                for who, person in enumerate(self.people)
                for where, tenant in enumerate(self.tenants)
            }


TestRights = Rights.TestCase
TestRights.settings = settings(
    max_examples=8, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
