"""Refusals and failures of the audit log."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class AuditUnavailable(NaosError):
    """The log cannot be written, so nothing is done."""

    code: ClassVar[str] = "audit.unavailable"
    status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "The audit log could not be written ({reason}), so nothing was done: no write goes unrecorded. Repeat the request."
    )
    reason: str


@dataclass(eq=False)
class AuditKeyUnusable(NaosError):
    code: ClassVar[str] = "audit.key_unusable"
    sentence: ClassVar[str] = (
        "The key {path} that seals the audit log cannot be used: {reason}. Copy it from the key folder of another controller "
        "or from a backup; when it is lost for good, `naos audit renew-key` begins with another one."
    )
    path: str
    reason: str


@dataclass(eq=False)
class AuditHeadMissing(NaosError):
    code: ClassVar[str] = "audit.head_missing"
    sentence: ClassVar[str] = (
        "The audit log holds {entries} entries, and its head (table audit_heads) is gone: somebody removed it. "
        "Restore the database from a backup."
    )
    entries: int


@dataclass(eq=False)
class FormatUnknown(NaosError):
    code: ClassVar[str] = "audit.format_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The log can be exported as csv or json, not as {format!r}."
    format: str
