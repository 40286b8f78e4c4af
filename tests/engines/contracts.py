"""What every driver of a port does, written against `engines.ports` alone: one list of rules a port.

A rule takes a Bench and leaves it as it was. Drivers are tried by parametrizing over `named(ARRAY)` and the like; a test
that has nothing but an array calls `hold_array`.
"""

from collections.abc import Sequence

import pytest
from contract_array import ARRAY, hold_array
from contract_bench import MIB, RESERVED, TAG, THIN, Bench, Rule, an_id, an_image, wait_for
from contract_hypervisor import HYPERVISOR, a_machine

from naos.engines.errors import CommandFailed, EngineError, Missing, Unreachable, Unsupported
from naos.engines.ports import BladePower, VlanSpec

__all__ = [
    "ARRAY",
    "CHASSIS",
    "FABRIC",
    "HOST",
    "HYPERVISOR",
    "MIB",
    "RESERVED",
    "THIN",
    "Bench",
    "a_machine",
    "an_id",
    "an_image",
    "hold_array",
    "named",
    "wait_for",
]


def named(rules: Sequence[Rule]) -> list:
    """For `pytest.mark.parametrize`."""
    return [pytest.param(rule, id=rule.__name__) for rule in rules]


def vlans_come_change_and_go(bench: Bench) -> None:
    fabric = bench.rack.fabric(bench.one)
    peers = ["10.99.0.2", "10.99.0.1"]
    for _ in range(2):
        assert fabric.ensure_vlan(VlanSpec(TAG, peers)) == fabric.bridge(TAG)
    assert fabric.vlans()[TAG] == sorted(peers)
    assert fabric.learned_macs(TAG) == {}
    fabric.ensure_vlan(VlanSpec(TAG, ["10.99.0.3"]))
    assert fabric.vlans()[TAG] == ["10.99.0.3"]
    fabric.ensure_vlan(VlanSpec(TAG + 1))
    for _ in range(2):
        fabric.remove_vlan(TAG)
    assert TAG not in fabric.vlans()
    assert fabric.vlans()[TAG + 1] == []
    fabric.remove_vlan(TAG + 1)
    with pytest.raises(Missing):
        fabric.learned_macs(TAG)


def only_tags_of_8021q(bench: Bench) -> None:
    fabric = bench.rack.fabric(bench.one)
    assert fabric.bridge(1) != fabric.bridge(4094)
    for tag in (0, -1, 4095):
        for call in (fabric.bridge, fabric.remove_vlan, lambda tag: fabric.ensure_vlan(VlanSpec(tag))):
            with pytest.raises(Unsupported, match="4094"):
                call(tag)


def power_goes_and_comes(bench: Bench) -> None:
    chassis = bench.rack.chassis(bench.two)
    assert chassis.power() is BladePower.ON
    for order, state in ((chassis.on, BladePower.ON), (chassis.off, BladePower.OFF), (chassis.off, BladePower.OFF)):
        order()
        assert chassis.power() is state
    with pytest.raises(Unreachable):
        bench.rack.blade_host(bench.two).run(["ls", "/"])
    for order in (chassis.reset, chassis.reset, chassis.on):
        order()
        assert chassis.power() is BladePower.ON
    assert bench.rack.blade_host(bench.two).run(["ls", "/"], check=False).code in {0, 2}


def files_on_a_host(bench: Bench) -> None:
    host, folder = bench.rack.array_host(bench.array_name), f"{bench.folder}/deep/er"
    back = bench.image.with_name("back")
    for _ in range(2):
        host.run(["mkdir", "-p", folder])
    for _ in range(2):
        host.put(bench.image, f"{folder}/file")
    assert host.run(["ls", folder]).stdout == "file\n"
    host.get(f"{folder}/file", back)
    assert back.read_bytes() == bench.image.read_bytes()
    for _ in range(2):
        host.run(["rm", "-f", f"{folder}/file"])
    assert host.run(["ls", folder]).stdout == ""
    with pytest.raises(Missing):
        host.get(f"{folder}/file", back)
    with pytest.raises(Missing):
        host.put(bench.image.with_name("absent"), f"{folder}/file")
    with pytest.raises(EngineError):
        host.put(bench.image, f"{folder}/no/such/file")
    assert host.run(["ls", folder]).stdout == ""
    failed = host.run(["ls", f"{folder}/nothing"], check=False)
    assert failed.code != 0
    assert "nothing" in failed.stderr
    with pytest.raises(CommandFailed, match="nothing") as told:
        host.run(["ls", f"{folder}/nothing"])
    assert told.value.where == host.name


FABRIC: Sequence[Rule] = (vlans_come_change_and_go, only_tags_of_8021q)
CHASSIS: Sequence[Rule] = (power_goes_and_comes,)
HOST: Sequence[Rule] = (files_on_a_host,)
