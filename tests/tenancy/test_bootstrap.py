"""The first organisation, tenant, owner and token (naos.tenancy.bootstrap)."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from naos.database import Database
from naos.tenancy import members
from naos.tenancy.bootstrap import Bootstrapped, bootstrap, load_credential, save_credential
from naos.tenancy.models import Organisation, PersonalAccessToken, Tenant, User
from naos.tenancy.permissions import permissions
from naos.tenancy.tokens import Authority


def _run(database: Database, *, renew_token: bool = False) -> Bootstrapped:
    with database.write() as session:
        return bootstrap(
            session,
            organisation="Cloud",
            tenant="Production",
            owner_name="Ada",
            owner_email="ada@example.org",
            renew_token=renew_token,
        )


def test_it_makes_everything_once(database: Database) -> None:
    first, second = _run(database), _run(database)
    assert first.secret
    assert second.secret is None
    assert (first.organisation_id, first.tenant_id, first.user_id, first.token_id) == (
        second.organisation_id,
        second.tenant_id,
        second.user_id,
        second.token_id,
    )
    with database.read() as session:
        for table in (Organisation, Tenant, User, PersonalAccessToken):
            assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 1
        assert members.effective_permissions(session, first.user_id, first.tenant_id) == set(permissions())
        assert session.get_one(Tenant, first.tenant_id).snc is True


def test_a_crash_before_the_commit_leaves_nothing_and_the_next_run_is_whole(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "credential"
    with suppress(KeyboardInterrupt), database.write() as session:
        lost = bootstrap(session, organisation="Cloud", tenant="P", owner_name="Ada", owner_email="ada@example.org")
        save_credential(file, lost.token_id, lost.secret or "")
        raise KeyboardInterrupt
    made = _run(database)
    assert made.secret
    assert made.token_id != load_credential(file)[0]


def test_a_lost_token_is_renewed(database: Database, tmp_path: Path) -> None:
    lost, renewed = _run(database), _run(database, renew_token=True)
    assert renewed.secret
    assert renewed.token_id != lost.token_id
    authority = Authority(database, tmp_path / "keys", timedelta(minutes=30))
    authority.open()
    assert authority.login(renewed.token_id, renewed.secret)
    with database.read() as session:
        assert session.get_one(PersonalAccessToken, lost.token_id).revoked_at is not None


def test_the_credential_file_is_private_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "credential"
    save_credential(file, "id-1", "first")
    save_credential(file, "id-2", "second")
    assert load_credential(file) == ("id-2", "second")
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["credential"]
    file.write_text("nonsense")
    with pytest.raises(ValueError, match="id:secret"):
        load_credential(file)
