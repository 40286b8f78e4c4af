"""Passwords: which can be taken, and how one is checked."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from naos.login.errors import PasswordWeak

SHORTEST, LONGEST = 12, 256
LEAST_SCORE = 3  # zxcvbn's scale of 0 to 4; 3 is out of reach of offline guessing against a slow hash
_LOOKED_AT = 72  # characters; the estimate's cost grows with the square of the length
# RFC 9106, the second recommended choice: 64 MiB, 3 passes. A person's password can be guessed, so this one is slow.
_HASHER = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=1)


def check(password: str, *about: str) -> None:
    """Raises PasswordWeak. about: what the password must not be made of, such as the user's name and mail address."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordWeak(f"it has {len(password)} characters, {SHORTEST} to {LONGEST} are taken")
    parts = [
        part for text in about for part in (text, *text.replace("@", " ").replace(".", " ").split()) if len(part) > 2
    ]
    found = zxcvbn(password[:_LOOKED_AT], user_inputs=parts)
    if found["score"] < LEAST_SCORE:
        warning = (found["feedback"]["warning"] or "it can be guessed").rstrip(".")
        raise PasswordWeak(warning[:1].lower() + warning[1:])


def hashed(password: str) -> str:
    return _HASHER.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Without a hash the answer is no, and costs the same time."""
    try:
        return _HASHER.verify(password_hash or _decoy(), password) and password_hash is not None
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


@cache
def _decoy() -> str:
    return _HASHER.hash("nobody's")
