"""The second factor: codes of six digits that change every 30 s (RFC 6238), each taken once, and recovery codes."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime

import pyotp

STEP_SECONDS, SKEW_STEPS = 30, 1  # clocks that differ by one step are forgiven (RFC 6238, section 5.2)
RECOVERY_CODES = 10


def new_secret() -> str:
    return pyotp.random_base32()


def enrolment(secret: str, email: str) -> str:
    """The `otpauth` address that authenticator programs take, usually as a picture."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="naos")


def accepted_step(secret: str, code: str, now: datetime, last_step: int) -> int | None:
    """The step that `code` belongs to, when it is near the present one and later than `last_step`; else None."""
    present = int(now.timestamp()) // STEP_SECONDS
    code = "".join(code.split())
    for step in range(present - SKEW_STEPS, present + SKEW_STEPS + 1):
        if step > last_step and pyotp.utils.strings_equal(pyotp.HOTP(secret).at(step), code):
            return step
    return None


def new_recovery_codes() -> list[str]:
    """80 random bits each, in groups that can be read out."""
    codes = [secrets.token_hex(10) for _ in range(RECOVERY_CODES)]
    return ["-".join(code[at : at + 5] for at in range(0, 20, 5)) for code in codes]


def digest(code: str) -> str:
    """80 random bits need no slow hash."""
    plain = "".join(character for character in code.lower() if character.isalnum())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def without(recovery: Sequence[str], code: str) -> list[str] | None:
    """What is left of the digests once `code` is used; None when it is none of them."""
    used = digest(code)
    return [entry for entry in recovery if entry != used] if used in recovery else None
