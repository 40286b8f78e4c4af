"""Rules of notices: where nothing is sent, when it is tried again, when a digest is due."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.addresses import parse_address, parse_network
from naos.protection.notices import rules

PARIS = ZoneInfo("Europe/Paris")
OWN = (parse_network("10.1.0.0/16"), parse_network("127.0.0.1"))


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",  # metadata services
        "fe80::1",
        "fd00:ec2::254",
        "127.0.0.2",
        "::1",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "172.16.5.5",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",  # the metadata service by NAT64
        "2002:a9fe:a9fe::1",  # and by 6to4
    ],
)
def test_nothing_goes_to_addresses_that_are_not_public(address: str) -> None:
    found = parse_address(address)
    assert found is not None
    assert rules.why_not(found, OWN) is not None


def test_public_addresses_and_the_operators_own_are_written_to() -> None:
    for address in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "10.1.2.3", "127.0.0.1"):
        found = parse_address(address)
        assert found is not None
        assert rules.why_not(found, OWN) is None
        assert rules.in_clear(found, OWN) == address.startswith(("10.", "127."))


def test_a_notice_is_given_up_after_a_day_at_most() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    tried, attempts = now, 1
    while (again := rules.next_try(attempts, tried)) is not None:
        assert again > tried
        tried, attempts = again, attempts + 1
    assert attempts == len(rules.PAUSES) + 1
    assert timedelta(hours=12) < tried - now < timedelta(days=1)


def test_signature() -> None:
    wanted = hmac.new(b"0123456789abcdef", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert rules.signature("0123456789abcdef", 1700000000, b'{"a":1}') == f"t=1700000000,v1={wanted}"


@given(
    st.sampled_from(["00:00", "02:30", "07:00", "23:59"]),
    st.lists(st.integers(-90, 600), min_size=20, max_size=60),
    st.sampled_from([datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 10, 23, tzinfo=UTC)]),
)
def test_a_digest_comes_once_a_day_whatever_clocks_do(at: str, steps: list[int], begin: datetime) -> None:
    """Looked at by a clock that goes on by so many minutes, and at times back: none twice, none before its time, and each span
    begins where the last one ended."""
    until, now, seen = begin, begin, []
    for step in steps:
        now += timedelta(minutes=step)
        due = rules.digest_due(at, PARIS, until, now)
        if due is not None:
            assert until < due <= now
            until = due
            seen.append(due.astimezone(PARIS).date())
    assert len(seen) == len(set(seen))


def test_a_digest_in_the_hour_that_is_skipped_comes_after_the_gap() -> None:
    until = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert rules.digest_due("02:30", PARIS, until, datetime(2026, 3, 29, 0, 59, tzinfo=UTC)) is None
    assert rules.digest_due("02:30", PARIS, until, datetime(2026, 3, 29, 1, tzinfo=UTC)) == datetime(
        2026, 3, 29, 1, tzinfo=UTC
    )
