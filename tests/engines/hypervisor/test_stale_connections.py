"""Which connections of guests' disks are broken when their array's daemon has died."""

import pytest

from naos.engines.hypervisor import stale
from naos.engines.ports import Completed

LISTED = (
    "ESTAB    0      0        10.199.0.11:40001    10.199.0.1:10809 cubic wscale:7,7 lastsnd:3990 lastrcv:4000 lastack:4100\n"
    "ESTAB    0      0        10.199.0.11:40002    10.199.0.1:10809 cubic wscale:7,7 lastack:1 pacing_rate 1\n"
    "ESTAB    0      0        10.199.0.11:40005    10.199.0.1:10809 cubic lastsnd:5000 lastrcv:4990 lastack:4990\n"
    "ESTAB    0      0       [fd00::11]:40003    [fd00::1]:10809 cubic lastsnd:900 lastrcv:900 lastack:900\n"
    "SYN-SENT 0      1        10.199.0.11:40004    10.199.0.1:10809 cubic lastsnd:9000 lastrcv:9000\n"
)


class Host:
    def __init__(self):
        self.calls = []

    def run(self, argv, *, timeout, check=True):
        self.calls.append(tuple(argv))
        return Completed(0, LISTED if "-HOtni" in argv else "", "")


@pytest.mark.parametrize(("seconds", "broken"), [(0.5, ["40001", "40003"]), (4.0, ["40001"]), (5, [])])
def test_those_are_broken_that_have_waited_for_an_answer_for_so_long(seconds, broken):
    host = Host()
    assert stale.let_go(host, "10.199.0.1", 10809, seconds) == len(broken)
    (listing, *breaking) = host.calls
    assert listing[-4:] == ("10.199.0.1", "dport", "=", ":10809")
    assert [call[6].removeprefix(":") for call in breaking] == broken
    assert all(call[1] == "-K" and call[-2:] == ("dst", "10.199.0.1") for call in breaking)
