"""What users of others' clouds complain of, on real machines: a guest that speaks in another's name."""

from collections.abc import Iterator

import pytest
from real_platform import Real, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
SUBJECT = "first-az05"
ADDRESS = "192.168.100.12"
PING = f"ping -c 1 -W 2 {ADDRESS} > /dev/null && echo heard || echo silence"


@pytest.fixture(autouse=True)
def _healthy(real: Real) -> Iterator[None]:
    """After any test the doctor finds nothing."""
    yield
    until(lambda: real.json("doctor") == [], f"no findings: {real.attempt('doctor').stdout}")


def test_a_guest_that_takes_another_mac_address_is_not_heard(real: Real) -> None:
    """A machine speaks with the address that it was given; with it, it is heard again."""
    mac = real.ask(SUBJECT, "cat /sys/class/net/eth0/address")
    assert real.ask(SUBJECT, PING) == "heard"
    change = "ip link set eth0 down; ip link set eth0 address {0}; ip link set eth0 up; " + PING
    assert real.ask(SUBJECT, change.format("02:00:00:00:00:99")) == "silence"
    until(lambda: real.ask(SUBJECT, change.format(mac)) == "heard", "the guest is heard with its own address")
