"""What the array's host sees of blades: out of what `ss -Htin` prints, and by asking."""

import os

import pytest

from naos.engines.array.peers import answering, checksum, connections

LISTING = """\
ESTAB      0      0      10.220.5.2:10809 10.220.5.11:41002
\t cubic wscale:10,10 rto:204 rtt:0.1/0.05 mss:1448 bytes_sent:900 bytes_acked:900 bytes_received:3457 segs_out:38
ESTAB      0      0      [::ffff:10.220.5.2]:10810 [::ffff:10.220.5.11]:41004
\t cubic wscale:10,10 bytes_received:43 lastsnd:8
ESTAB      0      0      10.220.5.2:10809 10.220.5.12:50100
\t cubic wscale:10,10 mss:1448
FIN-WAIT-2 0      0      10.220.5.2:10809 10.220.5.12:50101
\t cubic bytes_received:77
ESTAB      0      0      10.220.5.2:22 10.220.0.9:50101
\t cubic bytes_received:9999
ESTAB      0      0      127.0.0.1:10809 10.220.5.11:1
\t cubic bytes_received:1
"""


def test_only_open_connections_between_array_and_blade_count() -> None:
    found = connections(LISTING, "10.220.5.2", ["10.220.5.11", "10.220.5.12", "10.220.5.13"])
    assert found == {"10.220.5.11": [2, 3500], "10.220.5.12": [1, 0], "10.220.5.13": [0, 0]}


@pytest.mark.parametrize(("data", "wanted"), [(b"\x08\x00\x00\x00\x00\x01\x00\x01", 0xF7FD), (b"\xff\xff", 0)])
def test_the_checksum_is_that_of_the_standard(data: bytes, wanted: int) -> None:
    assert checksum(data) == wanted


@pytest.mark.skipif(os.geteuid() != 0, reason="echo requests need root")
def test_who_answers_an_echo_request() -> None:
    assert answering(["127.0.0.1", "240.0.0.1"], 0.3) == {"127.0.0.1"}
