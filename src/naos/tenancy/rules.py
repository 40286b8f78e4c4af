"""What may be done in tenancy: pure functions of plain values."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from naos.identity import PermissionMissing
from naos.tenancy.errors import (
    AddressInvalid,
    ExpiryPassed,
    ExpiryTooFar,
    FeaturesUnknown,
    NotHeld,
    RolesMissing,
    RolesUnknown,
)
from naos.tenancy.permissions import Permission, features, leaf_features, permissions, permissions_by_id

LONGEST_LIFE = timedelta(days=366)
LONGEST_ADDRESS = 320
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def effective(*, owner: bool, assigned: Collection[str], enabled: Collection[str]) -> frozenset[str]:
    """The permissions that a user holds in a tenant.

    An owner holds all of the features enabled on the tenant; anybody else what was assigned of them.
    """
    return frozenset(
        name for name, permission in permissions().items() if permission.area in enabled and (owner or name in assigned)
    )


def of_roles(roles: Sequence[str]) -> list[Permission]:
    """The permissions that role ids stand for, in their order. Raises RolesMissing, RolesUnknown."""
    if not roles:
        raise RolesMissing
    known = permissions_by_id()
    unknown = [role for role in roles if role not in known]
    if unknown:
        raise RolesUnknown(", ".join(unknown))
    return [known[role] for role in roles]


def of_features(wanted: Sequence[str]) -> list[str]:
    """Names of the features that ids or names stand for, in the order of the file; a group stands for what is below it.

    Raises FeaturesUnknown.
    """
    known = {key: feature for feature in features().values() for key in (feature.id, feature.name)}
    unknown = [text for text in wanted if text not in known]
    if unknown:
        raise FeaturesUnknown(", ".join(text[:64] for text in unknown))
    named = {known[text].name for text in wanted}
    return [name for name in leaf_features() if name in named or features()[name].parent in named]


def of_token(roles: Iterable[str], held: Collection[str]) -> frozenset[str]:
    """What a token may do now: its roles, as far as its user still holds them."""
    known = permissions_by_id()
    return frozenset(known[role].name for role in roles if role in known and known[role].name in held)


def check_subset(wanted: Iterable[str], held: Collection[str]) -> None:
    """Raises NotHeld, naming each permission of `wanted` that is not in `held`."""
    beyond = [name for name in wanted if name not in held]
    if beyond:
        raise NotHeld(", ".join(beyond))


def check_grant(wanted: Iterable[str], held: Collection[str]) -> None:
    """Granting and withdrawing need `iam_write` and each permission in question. Raises PermissionMissing, NotHeld."""
    if "iam_write" not in held:
        raise PermissionMissing("iam_write")
    check_subset(wanted, held)


def check_expiry(milliseconds: int, now: datetime) -> datetime:
    """The instant of `milliseconds` since the epoch, kept exactly. Raises ExpiryPassed, ExpiryTooFar."""
    latest = now + LONGEST_LIFE
    if milliseconds > to_milliseconds(latest):
        shown = _shown(milliseconds)
        raise ExpiryTooFar(shown, LONGEST_LIFE.days, latest.isoformat(timespec="seconds"))
    if milliseconds <= to_milliseconds(now):
        raise ExpiryPassed(_shown(milliseconds), now.isoformat(timespec="seconds"))
    return EPOCH + timedelta(milliseconds=milliseconds)


def to_milliseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(milliseconds=1)


def _shown(milliseconds: int) -> str:
    try:
        return (EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="seconds")
    except OverflowError:
        return f"{milliseconds} ms since 1970, beyond the calendar,"


def check_address(address: str) -> str:
    """An e-mail address, trimmed. Only its shape is looked at: whether it is one is known when it answers."""
    trimmed = address.strip()
    local, at, domain = trimmed.rpartition("@")
    shaped = bool(local and at and domain) and "@" not in local and not any(map(_unfit, trimmed))
    if not shaped or len(trimmed) > LONGEST_ADDRESS:
        raise AddressInvalid(address[:LONGEST_ADDRESS], LONGEST_ADDRESS)
    return trimmed


def _unfit(character: str) -> bool:
    return character.isspace() or not character.isprintable()
