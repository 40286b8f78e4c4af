"""The keys that sign sessions: 256 random bits each, in files of the controller's home that only it can read.

The table says which keys exist and until when a replaced one is accepted; the file holds the bytes. A controller with a
key that others can read, or that is not random, does not start.
"""

import os
import secrets
import stat
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import sqlalchemy as sa
from joserfc.jwk import OctKey
from sqlalchemy.orm import Session

from naos.tenancy.errors import KeyUnusable
from naos.tenancy.models import SigningKey

ALGORITHM = "HS256"
KEY_BYTES = 32
# 32 random bytes hold about 30 different values; fewer than 16 is text, zeros or a counter, not chance (p < 1e-12).
_LEAST_DIFFERENT = 16
_REPLACE = "Replace the keys with `naos controller rotate-key --leaked`, which ends every session."


def open_keys(session: Session, folder: Path, now: datetime) -> None:
    """Make the first key, or check every key that is still accepted. Raises KeyUnusable."""
    present = session.scalars(sa.select(SigningKey).where(accepted(now))).all()
    if not any(key.accepted_until is None for key in present):
        _make(session, folder, now)
    for key in present:
        read_key(folder / key.file)


def signing_key(session: Session, folder: Path) -> tuple[str, OctKey]:
    """Id and bytes of the present key. Raises KeyUnusable."""
    present = session.scalars(
        sa.select(SigningKey).where(SigningKey.accepted_until.is_(None)).order_by(SigningKey.created_at.desc())
    ).first()
    if present is None:
        raise KeyUnusable(str(folder), "no key has been made", "Start the controller once, which makes one.")
    return present.id, read_key(folder / present.file)


def sign_until(session: Session, folder: Path, ends: datetime) -> tuple[str, OctKey]:
    """The present key, for a session that ends at `ends`: a rotation will accept the key until then.

    The row is changed in the caller's transaction, so no rotation comes between. Raises KeyUnusable.
    """
    while True:
        key_id, key = signing_key(session, folder)
        noted = session.execute(
            sa.update(SigningKey)
            .where(SigningKey.id == key_id, SigningKey.accepted_until.is_(None))
            .values(
                sessions_end_at=sa.case(
                    (SigningKey.sessions_end_at > ends, SigningKey.sessions_end_at),
                    else_=sa.literal(ends, SigningKey.sessions_end_at.type),
                )
            )
            .execution_options(synchronize_session=False)
            .returning(SigningKey.id)
        )
        if noted.first() is not None:
            return key_id, key
        session.expire_all()


def every_key(session: Session) -> list[SigningKey]:
    """All keys there were, the newest first."""
    return list(session.scalars(sa.select(SigningKey).order_by(SigningKey.created_at.desc(), SigningKey.id)))


def accepted_key(session: Session, folder: Path, key_id: str, now: datetime) -> OctKey | None:
    """The key of that id, unless it is unknown or no longer accepted."""
    file = session.scalar(sa.select(SigningKey.file).where(SigningKey.id == key_id, accepted(now)))
    return None if file is None else read_key(folder / file)


def rotate_key(session: Session, folder: Path, *, now: datetime, leaked: bool = False) -> str:
    """Make a new present key; returns its id.

    The one before is accepted until the longest of the sessions that it signed ends; not at all when it has `leaked`, and
    neither is any older one: everybody then logs in again. Files of keys that were no longer accepted before this call are
    removed.
    """
    for key in session.scalars(sa.select(SigningKey).with_for_update()):
        if key.accepted_until is not None and key.accepted_until <= now:
            (folder / key.file).unlink(missing_ok=True)
            _READ.pop(folder / key.file, None)
        elif leaked:
            # Not `now`: a controller whose clock is behind would accept the key for that long.
            key.accepted_until = min(now, key.created_at)
        elif key.accepted_until is None:
            key.accepted_until = max(now, key.sessions_end_at or now)
    return _make(session, folder, now)


@dataclass(frozen=True)
class _Read:
    """A key that was found good, and the file as it was then."""

    facts: tuple[int, ...]
    key: OctKey


_READ: dict[Path, _Read] = {}
# Two changes within one tick of the file system's clock look alike, so a file that has just changed is read again.
_SETTLED_NS = 2_000_000_000


def read_key(path: Path) -> OctKey:
    """Read a key after checking that nobody else can. Raises KeyUnusable.

    A file that is still the same in every respect (which one, whose, its mode, its times) is not read again.
    """
    with suppress(OSError):
        kept = _READ.get(path)
        if kept is not None and kept.facts == _facts(os.lstat(path)):
            return kept.key
    _READ.pop(path, None)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        remedy = "Copy the key folder of the controller that made it, or rotate the key there."
        raise KeyUnusable(str(path), error.strerror or "it cannot be opened", remedy) from error
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        value = file.read(4096) if stat.S_ISREG(facts.st_mode) else b""
    owner = os.geteuid()
    if facts.st_uid != owner:
        raise KeyUnusable(str(path), f"it belongs to user {facts.st_uid}", f"Make it the controller's: chown {owner}.")
    if facts.st_mode & 0o077:
        mode = f"{stat.S_IMODE(facts.st_mode):04o}"
        raise KeyUnusable(str(path), f"others can reach it (mode {mode})", f"It may be known. {_REPLACE}")
    weakness = _weakness(value)
    if weakness is not None:
        raise KeyUnusable(str(path), f"it is weak ({weakness}; a key is {KEY_BYTES} random bytes)", _REPLACE)
    key = OctKey.import_key(value)
    if time.time_ns() - facts.st_ctime_ns > _SETTLED_NS:
        _READ[path] = _Read(_facts(facts), key)
    return key


def _facts(file: os.stat_result) -> tuple[int, ...]:
    """What no change of a file's bytes, owner or mode leaves as it is; and who looks at it."""
    times = (file.st_mtime_ns, file.st_ctime_ns)
    return (file.st_dev, file.st_ino, file.st_mode, file.st_uid, file.st_size, *times, os.geteuid())


def _weakness(value: bytes) -> str | None:
    """Why somebody could guess the key. Each of these is true of random bytes less often than once in 10^12."""
    steps = {(later - earlier) % 256 for earlier, later in pairwise(value)}
    if len(value) != KEY_BYTES:
        return f"{len(value)} bytes"
    if len(set(value)) < _LEAST_DIFFERENT:
        return f"{len(value)} bytes, {len(set(value))} different"
    if len(steps) < _LEAST_DIFFERENT:
        return f"its bytes follow one another in {len(steps)} different steps"
    if all(0x20 <= byte < 0x7F for byte in value):
        return "it is readable text"
    return None


def accepted(now: datetime) -> sa.ColumnElement[bool]:
    """Of keys whose sessions count at `now`."""
    return sa.or_(SigningKey.accepted_until.is_(None), SigningKey.accepted_until > now)


def _make(session: Session, folder: Path, now: datetime) -> str:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = SigningKey(id=str(uuid.uuid4()), algorithm=ALGORITHM, file="", created_at=now)
    key.file = f"{key.id}.key"
    path = folder / key.file
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        session.add(key)
        session.flush()
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    return key.id
