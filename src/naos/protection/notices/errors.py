"""Refusals of notices."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class TargetKind(NaosError):
    code: ClassVar[str] = "protection.notice_kind"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A target of notices is a webhook or a mail server: give exactly one of `webhook` and `mail`, and the same kind as before when "
        "you change one."
    )


@dataclass(eq=False)
class TargetAddress(NaosError):
    code: ClassVar[str] = "protection.notice_address"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Notices cannot go to {address!r}: {reason}."
    address: str
    reason: str


@dataclass(eq=False)
class TooManyTargets(NaosError):
    code: ClassVar[str] = "protection.notice_targets_many"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "The tenant has {count} targets of notices, which is as many as it may have; delete one."
    count: int


@dataclass(eq=False)
class PasswordInClear(NaosError):
    code: ClassVar[str] = "protection.notice_password_in_clear"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "The password of {user!r} would go to {server} unencrypted; choose `starttls` or `tls` as security, or leave user and password out."
    )
    user: str
    server: str


@dataclass(eq=False)
class PasswordMissing(NaosError):
    code: ClassVar[str] = "protection.notice_password_missing"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "User and password of mail server {server} belong together: give both or neither, and the password again when server, port, "
        "security or user change."
    )
    server: str


@dataclass(eq=False)
class NotDelivered(NaosError):
    """Why an attempt failed. `lasting`: trying again is of no use."""

    code: ClassVar[str] = "protection.notice_not_delivered"
    status: ClassVar[int] = 502
    sentence: ClassVar[str] = "{address}: {reason}"
    address: str
    reason: str
    lasting: bool = False
