"""What may be done in tenancy (naos.tenancy.rules)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.identity import PermissionMissing
from naos.tenancy import rules
from naos.tenancy.errors import AddressInvalid, ExpiryPassed, ExpiryTooFar, NotHeld, RolesMissing, RolesUnknown
from naos.tenancy.permissions import leaf_features, permissions

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
READ = permissions()["compute_iaas_vmware_read"]


@pytest.mark.parametrize(
    ("owner", "assigned", "enabled", "held"),
    [
        (False, [], leaf_features(), set()),
        (False, ["tag_read"], leaf_features(), {"tag_read"}),
        (False, ["tag_read"], ["activity"], set()),
        (True, [], ["activity", "tag"], {"activity_read", "activity_write", "tag_read", "tag_write"}),
        (True, [], leaf_features(), set(permissions())),
        (False, ["no_such_permission"], leaf_features(), set()),
    ],
)
def test_what_a_user_holds(*, owner: bool, assigned: list[str], enabled: list[str], held: set[str]) -> None:
    assert rules.effective(owner=owner, assigned=assigned, enabled=enabled) == held


def test_a_token_never_does_more_than_its_user() -> None:
    roles = [READ.id, permissions()["iam_write"].id, "00000000-0000-0000-0000-000000000000"]
    assert rules.of_token(roles, {"compute_iaas_vmware_read", "tag_read"}) == {"compute_iaas_vmware_read"}


def test_roles_must_exist() -> None:
    with pytest.raises(RolesMissing):
        rules.of_roles([])
    with pytest.raises(RolesUnknown, match="No role has the id nonsense;"):
        rules.of_roles([READ.id, "nonsense"])
    assert [found.name for found in rules.of_roles([READ.id])] == ["compute_iaas_vmware_read"]


def test_nobody_passes_on_what_they_do_not_hold() -> None:
    rules.check_grant(["tag_read"], {"iam_write", "tag_read"})
    with pytest.raises(PermissionMissing, match="iam_write"):
        rules.check_grant(["tag_read"], {"tag_read"})
    with pytest.raises(NotHeld, match="you do not hold tag_write, vpc_read"):
        rules.check_grant(["tag_read", "tag_write", "vpc_read"], {"iam_write", "tag_read"})


def test_expiry_is_kept_to_the_millisecond_and_ends_within_a_year() -> None:
    day = rules.to_milliseconds(NOW + timedelta(days=1)) + 7
    assert rules.to_milliseconds(rules.check_expiry(day, NOW)) == day
    with pytest.raises(ExpiryPassed):
        rules.check_expiry(rules.to_milliseconds(NOW), NOW)
    with pytest.raises(ExpiryTooFar, match="at most 12 months"):
        rules.check_expiry(rules.to_milliseconds(NOW + timedelta(days=367)), NOW)


@pytest.mark.parametrize("milliseconds", [10**30, -(10**30), -1, 0])
def test_expiry_beyond_the_calendar_is_refused_like_any_other(milliseconds: int) -> None:
    with pytest.raises((ExpiryPassed, ExpiryTooFar)) as refusal:
        rules.check_expiry(milliseconds, NOW)
    assert refusal.value.status == 422


@given(st.integers(min_value=1, max_value=366 * 24 * 3600 * 1000))
def test_every_instant_of_the_next_year_survives(ahead: int) -> None:
    given_ms = rules.to_milliseconds(NOW) + ahead
    assert rules.to_milliseconds(rules.check_expiry(given_ms, NOW)) == given_ms


@pytest.mark.parametrize("address", ["owner@example.org", " o.w+x@example.org ", "é@exämple.org", "root@localhost"])
def test_addresses(address: str) -> None:
    assert rules.check_address(address) == address.strip()


@pytest.mark.parametrize("address", ["", "@", "a@", "@b", "a b@c", "a@b@c", "a\x00@b", "a@b\nc", "x" * 320 + "@b"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(AddressInvalid):
        rules.check_address(address)
