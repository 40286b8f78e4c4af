"""What is taken from libvirt's list of statistics, which never waits for a machine that something works on."""

import libvirt
import pytest

from naos.engines.hypervisor import reading

IDLE = {"cpu.time": 7, "balloon.current": 1024, "balloon.maximum": 2048, "balloon.rss": 512, "vcpu.0.delay": 4}
BUSY = {"cpu.time": 9, "balloon.current": 2048, "balloon.maximum": 2048}
"""What libvirt knows by itself, without a word from the machine's process."""


class Domain:
    def __init__(self, name, gone=False):
        self.name, self.gone = name, gone

    def UUIDString(self):  # noqa: N802 - libvirt's name
        return self.name

    def XMLDesc(self, _flags):  # noqa: N802 - libvirt's name
        if self.gone:
            raise libvirt.libvirtError("it is gone")
        return "<domain/>"


class Connection:
    def __init__(self, *rows):
        self.rows, self.flags = rows, 0

    def getAllDomainStats(self, _groups, flags):  # noqa: N802 - libvirt's name
        self.flags = flags
        return list(self.rows)


@pytest.mark.parametrize("first", [True, False])
def test_a_busy_machine_is_left_out_and_hides_no_other(first):
    """A machine whose state is being changed, or whose process hangs, tells nothing; half of its figures would be wrong."""
    rows = [(Domain("busy"), BUSY), (Domain("idle"), IDLE), (Domain("gone", gone=True), IDLE)]
    connection = Connection(*(rows if first else rows[::-1]))
    found = reading.samples(connection)
    assert connection.flags & libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    assert list(found) == ["idle"]
    assert (found["idle"].cpu_time_ns, found["idle"].memory) == (7, 512 * 1024)
