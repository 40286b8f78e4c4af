"""Personal access tokens and sessions (naos.tenancy.tokens)."""

import base64
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from naos.database import Database
from naos.errors import Unknown
from naos.identity import Identity, Unauthenticated
from naos.tenancy import grants, keys, members, rules, tokens
from naos.tenancy.bootstrap import Bootstrapped, bootstrap
from naos.tenancy.errors import NotHeld
from naos.tenancy.models import Assignment, PersonalAccessToken, TenantFeature, User
from naos.tenancy.permissions import permissions
from naos.tenancy.tokens import Authority, TokenRequest

START = datetime.now(UTC)


@dataclass
class Clock:
    at: datetime = field(default=START)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(database: Database, tmp_path: Path, clock: Clock) -> Authority:
    authority = Authority(database, tmp_path / "keys", timedelta(minutes=30), clock)
    authority.open()
    return authority


@pytest.fixture
def first(database: Database) -> Bootstrapped:
    with database.write() as session:
        return bootstrap(session, organisation="Org", tenant="Prod", owner_name="Ada", owner_email="ada@example.org")


def _member(database: Database, first: Bootstrapped, names: list[str]) -> Identity:
    """A user who is no owner and holds `names` in the first tenant."""
    with database.write() as session:
        company = members.ensure_organisation(session, "Org")
        user = members.ensure_user(session, company, name="Grace", email="grace@example.org")
        user.email_verified = True
        session.add_all(Assignment(user_id=user.id, tenant_id=first.tenant_id, permission=name) for name in names)
    return Identity(user.id, first.tenant_id, first.organisation_id, frozenset(names), "")


def _token(database: Database, creator: Identity, names: list[str], *, days: float = 30) -> tokens.Issued:
    request = TokenRequest(
        name="ci",
        roles=[permissions()[name].id for name in names],
        expires_at=rules.to_milliseconds(START + timedelta(days=days)),
    )
    with database.write() as session:
        return tokens.create_token(session, creator, request, START)


def _claims(session: str) -> dict[str, object]:
    payload = session.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


def test_a_login_gives_a_session_with_the_claims_that_clients_read(authority: Authority, first: Bootstrapped) -> None:
    session = authority.login(first.token_id, first.secret or "")
    claims = _claims(session)
    assert (claims["userId"], claims["companyId"]) == (first.user_id, first.organisation_id)
    assert claims["scope"] == {"id": first.tenant_id}
    assert claims["patId"] == first.token_id
    assert claims["exp"] == int((START + timedelta(minutes=30)).timestamp())
    assert claims["exp"] - claims["iat"] == 1800  # type: ignore[operator]
    identity = authority.identify(session)
    assert identity == Identity(
        first.user_id, first.tenant_id, first.organisation_id, frozenset(permissions()), first.token_id
    )


def test_a_login_is_noted(authority: Authority, first: Bootstrapped, clock: Clock) -> None:
    clock.at += timedelta(hours=1)
    authority.login(first.token_id, first.secret or "")
    with authority.database.read() as session:
        assert session.get_one(PersonalAccessToken, first.token_id).last_used_at == clock.at


def test_the_secret_is_kept_only_as_a_slow_hash(authority: Authority, first: Bootstrapped) -> None:
    with authority.database.read() as session:
        kept = session.get_one(PersonalAccessToken, first.token_id).secret_hash
    assert kept.startswith("$argon2id$")
    assert (first.secret or "") not in kept


@pytest.mark.parametrize("token_id", ["", "x", "\x00", "00000000-0000-0000-0000-000000000000", "é" * 36])
@pytest.mark.parametrize("secret", ["", "x", "\ud800"])
def test_a_wrong_id_and_a_wrong_secret_are_refused_alike(
    authority: Authority, first: Bootstrapped, token_id: str, secret: str
) -> None:
    refusals = set()
    for wrong_id, wrong_secret in ((token_id, first.secret or ""), (first.token_id, secret)):
        with pytest.raises(Unauthenticated) as refusal:
            authority.login(wrong_id, wrong_secret)
        refusals.add(str(refusal.value))
    assert len(refusals) == 1


def test_the_id_may_be_written_in_capitals(authority: Authority, first: Bootstrapped) -> None:
    assert authority.login(first.token_id.upper(), first.secret or "")


def test_a_session_ends_after_half_an_hour(authority: Authority, first: Bootstrapped, clock: Clock) -> None:
    session = authority.login(first.token_id, first.secret or "")
    clock.at += timedelta(minutes=29, seconds=58)
    authority.identify(session)
    clock.at += timedelta(seconds=4)
    with pytest.raises(Unauthenticated, match="expired"):
        authority.identify(session)


def test_a_session_ends_with_its_token(
    database: Database, authority: Authority, first: Bootstrapped, clock: Clock
) -> None:
    issued = _token(database, _member(database, first, ["tag_read"]), ["tag_read"], days=1)
    clock.at += timedelta(days=1, minutes=-10)
    session = authority.login(issued.token.id, issued.secret)
    assert _claims(session)["exp"] == int(issued.token.expires_at.timestamp())
    clock.at += timedelta(minutes=10)
    with pytest.raises(Unauthenticated, match="expired"):
        authority.login(issued.token.id, issued.secret)
    with pytest.raises(Unauthenticated):
        authority.identify(session)


def test_what_is_taken_away_is_gone_with_the_next_call(
    database: Database, authority: Authority, first: Bootstrapped
) -> None:
    held = ["tag_read", "tag_write", "activity_read"]
    creator = _member(database, first, held)
    session = authority.issue(_token(database, creator, ["tag_read", "tag_write"]).token)
    assert authority.identify(session).permissions == {"tag_read", "tag_write"}
    owner = replace(authority.identify(authority.login(first.token_id, first.secret or "")))
    with database.write() as writing:
        grants.withdraw(writing, owner, creator.user_id, ["tag_write"])
    assert authority.identify(session).permissions == {"tag_read"}
    with database.write() as writing:
        grants.grant(writing, owner, creator.user_id, ["tag_write", "vpc_read"])
    assert authority.identify(session).permissions == {"tag_read", "tag_write"}
    with database.write() as writing:
        writing.execute(sa.delete(TenantFeature).where(TenantFeature.feature == "tag"))
    assert authority.identify(session).permissions == set()


def test_a_deleted_token_ends_its_sessions(database: Database, authority: Authority, first: Bootstrapped) -> None:
    creator = _member(database, first, ["tag_read"])
    issued = _token(database, creator, ["tag_read"])
    session = authority.login(issued.token.id, issued.secret)
    with database.write() as writing:
        tokens.revoke_token(writing, creator, issued.token.id, START)
    with pytest.raises(Unauthenticated, match="deleted"):
        authority.identify(session)
    with pytest.raises(Unauthenticated, match="deleted"):
        authority.login(issued.token.id, issued.secret)
    with pytest.raises(Unknown), database.write() as writing:
        tokens.revoke_token(writing, creator, issued.token.id, START)


def test_a_token_carries_no_more_than_its_creator_holds(database: Database, first: Bootstrapped) -> None:
    creator = _member(database, first, ["tag_read"])
    with pytest.raises(NotHeld, match="tag_write"):
        _token(database, creator, ["tag_read", "tag_write"])


def test_a_user_sees_their_own_tokens_and_who_may_grant_sees_all(database: Database, first: Bootstrapped) -> None:
    creator = _member(database, first, ["tag_read"])
    issued = _token(database, creator, ["tag_read"])
    with database.read() as session:
        assert [token.id for token in tokens.visible_tokens(session, creator)] == [issued.token.id]
        granting = replace(creator, permissions=frozenset({"iam_write"}))
        assert {token.id for token in tokens.visible_tokens(session, granting)} == {issued.token.id, first.token_id}
        elsewhere = replace(granting, tenant_id="00000000-0000-0000-0000-000000000000")
        assert tokens.visible_tokens(session, elsewhere) == []


def test_sessions_survive_a_rotation_to_their_own_end(authority: Authority, first: Bootstrapped, clock: Clock) -> None:
    before = authority.login(first.token_id, first.secret or "")
    with authority.database.write() as session:
        keys.rotate_key(session, authority.key_folder, now=clock.at)
    clock.at += timedelta(minutes=29)
    after = authority.login(first.token_id, first.secret or "")
    assert authority.identify(before) == authority.identify(after)
    clock.at += timedelta(minutes=1)
    authority.identify(after)
    with pytest.raises(Unauthenticated, match="key that is not in use"):
        authority.identify(before)


def test_a_leaked_key_ends_every_session_at_once(authority: Authority, first: Bootstrapped, clock: Clock) -> None:
    oldest = authority.login(first.token_id, first.secret or "")
    with authority.database.write() as session:
        keys.rotate_key(session, authority.key_folder, now=clock.at)
    old = authority.login(first.token_id, first.secret or "")
    with authority.database.write() as session:
        keys.rotate_key(session, authority.key_folder, now=clock.at, leaked=True)
    for ended in (oldest, old):
        with pytest.raises(Unauthenticated, match="key that is not in use"):
            authority.identify(ended)
    authority.identify(authority.login(first.token_id, first.secret or ""))


def test_forged_sessions_are_refused(authority: Authority, first: Bootstrapped) -> None:
    good = authority.login(first.token_id, first.secret or "")
    header, payload, signature = good.split(".")
    kid = json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": kid}).encode()).rstrip(b"=").decode()
    claims = _claims(good)
    foreign = jwt.encode({"alg": "HS256", "kid": kid}, claims, OctKey.import_key(b"another key, of 32 bytes' length"))
    forged = [
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{header}.{payload}.",
        foreign,
        good[:-4] + "AAAA",
    ]
    for session in forged:
        with pytest.raises(Unauthenticated):
            authority.identify(session)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=80) | st.lists(st.binary(max_size=30), min_size=3, max_size=3))
@example("..")
@example([b"{}", b"{}", b""])
@example([b"[]", b"[]", b"x"])
@example([b'{"alg":"HS256"}', b"1", b"x"])
@example([b'{"alg":"HS256","kid":{"a":1}}', b"{}", b"x"])
@example([b'{"alg":1,"kid":null}', b"{}", b"x"])
def test_rubbish_is_refused_and_never_breaks(authority: Authority, rubbish: str | list[bytes]) -> None:
    if isinstance(rubbish, list):
        rubbish = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in rubbish)
    with pytest.raises(Unauthenticated):
        authority.identify(rubbish)


def test_a_user_of_another_organisation_holds_nothing(database: Database, first: Bootstrapped) -> None:
    with database.write() as session:
        other = members.ensure_organisation(session, "Other")
        stranger = members.ensure_user(session, other, name="Eve", email="eve@example.org")
        members.make_organisation_owner(session, stranger)
        session.add(Assignment(user_id=stranger.id, tenant_id=first.tenant_id, permission="tag_read"))
        session.flush()
        assert members.effective_permissions(session, stranger.id, first.tenant_id) == frozenset()
        grantor = Identity(first.user_id, first.tenant_id, first.organisation_id, frozenset(permissions()), "")
        with pytest.raises(Unknown):
            grants.grant(session, grantor, stranger.id, ["tag_read"])


def test_an_address_is_one_user_in_any_case(database: Database, first: Bootstrapped) -> None:
    with database.write() as session:
        company = members.ensure_organisation(session, "Org")
        assert members.ensure_user(session, company, name="Ada", email="ADA@example.org").id == first.user_id
        assert session.scalar(sa.select(sa.func.count(User.id))) == 1
