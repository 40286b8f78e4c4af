"""Signing keys and their rotation (naos.tenancy.keys)."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from naos.database import Database
from naos.tenancy import keys
from naos.tenancy.errors import KeyUnusable
from naos.tenancy.models import SigningKey

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def _open(database: Database, folder: Path, now: datetime = NOW) -> str:
    with database.write() as session:
        keys.open_keys(session, folder, now)
    with database.read() as session:
        return keys.signing_key(session, folder)[0]


def test_the_first_start_makes_one_key_that_only_its_owner_can_read(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = _open(database, folder)
    assert _open(database, folder) == first
    (file,) = folder.iterdir()
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777, len(file.read_bytes())) == (0o600, 0o700, 32)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.chmod(0o640), "mode 0640"),
        (lambda file: file.chmod(0o604), "mode 0604"),
        (lambda file: file.write_bytes(b"short"), "5 bytes"),
        (lambda file: file.write_bytes(b"\0" * 32), "1 different"),
        (lambda file: file.write_bytes(b"secretsecretsecretsecretsecretse"), "5 different"),
        (lambda file: file.write_bytes(bytes(range(32))), "1 different steps"),
        (lambda file: file.write_bytes(b"correct horse battery staple 42!"), "readable text"),
        (lambda file: file.unlink(), "No such file"),
        (lambda file: (file.rename(f"{file}.real"), file.symlink_to(f"{file}.real")), "symbolic links"),
    ],
)
def test_a_spoiled_key_stops_the_start(database: Database, tmp_path: Path, spoil: object, reason: str) -> None:
    folder = tmp_path / "keys"
    spoil(folder / f"{_open(database, folder)}.key")  # type: ignore[operator]
    with pytest.raises(KeyUnusable, match=reason):
        _open(database, folder)


def test_a_foreign_owner_stops_the_start(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "keys"
    _open(database, folder)
    monkeypatch.setattr(keys.os, "geteuid", lambda: 4242)
    with pytest.raises(KeyUnusable, match="chown 4242"):
        _open(database, folder)


def test_rotation_overlaps(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    old = _open(database, folder)
    with database.write() as session:
        keys.sign_until(session, folder, NOW + timedelta(minutes=30))
        keys.sign_until(session, folder, NOW + timedelta(minutes=20))
        new = keys.rotate_key(session, folder, now=NOW)
    with database.read() as session:
        assert keys.signing_key(session, folder)[0] == new
        assert keys.accepted_key(session, folder, old, NOW + timedelta(minutes=29)) is not None
        assert keys.accepted_key(session, folder, old, NOW + timedelta(minutes=30)) is None
        assert keys.accepted_key(session, folder, new, NOW + timedelta(days=300)) is not None
        assert keys.accepted_key(session, folder, "00000000-0000-0000-0000-000000000000", NOW) is None


def test_a_leaked_key_is_dropped_at_once_and_its_file_at_the_next_rotation(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    leaked = _open(database, folder)
    (folder / f"{leaked}.key").chmod(0o644)
    with database.write() as session:
        keys.rotate_key(session, folder, now=NOW, leaked=True)
    assert _open(database, folder) != leaked
    with database.write() as session:
        keys.rotate_key(session, folder, now=NOW)
    assert not (folder / f"{leaked}.key").exists()
    with database.read() as session:
        assert len(session.scalars(sa.select(SigningKey)).all()) == len(list(folder.iterdir())) + 1 == 3
        assert keys.accepted_key(session, folder, leaked, NOW) is None


def test_a_rotation_that_is_rolled_back_leaves_the_old_key(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    old = _open(database, folder)
    with suppress(ZeroDivisionError), database.write() as session:
        keys.rotate_key(session, folder, now=NOW, leaked=True)
        raise ZeroDivisionError
    assert _open(database, folder) == old
