"""A machine written straight from its row is what its wire shape describes (naos.compute.machine_rows)."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from naos.compute import machine_rows
from naos.compute.machine_wire import Machine

ROW: dict[str, Any] = {
    "id": "47097b7e-69e7-4d2a-b6ac-04c871d1baf5",
    "name": "web",
    "cores_per_socket": 1,
    "cpu": 2,
    "memory": 2**30,
    "memory_reservation": 0,
    "guest_os": "otherGuest64",
    "hot_add_cpu": True,
    "hot_remove_cpu": False,
    "hot_add_memory": True,
    "extra_config": {"b": True, "a": 64},
    "firmware": "efi",
    "boot_delay": 5,
    "enter_setup": True,
    "boot_retry": False,
    "boot_retry_delay": 10_000,
    "secure_boot": True,
    "nested": False,
    "seed": {"addresses": [{"address": "10.0.0.5/24"}, {}]},
    "lifecycle": "active",
    "running": True,
    "blade_name": "az06-blade1",
    "used_cpu": 100,
    "used_memory": 2**20,
    "tools_answer": True,
    "tools_version": "7.2.22",
    "capacity": 2**34,
    "networks": "10 second,2 first",
    "snapshoted": 1,
    "waits": True,
    "stuck": True,
    **{f"{kind}_{part}": f"{kind} {part}" for kind in ("region", "zone", "pool", "lun") for part in ("id", "name")},
}
SPARSE = {
    "running": False,
    "used_cpu": None,
    "used_memory": None,
    "tools_answer": None,
    "tools_version": None,
    "capacity": None,
    "networks": None,
    "snapshoted": 0,
    "waits": False,
    "stuck": False,
    "seed": {},
    "extra_config": {},
}


@pytest.mark.parametrize("changed", [{}, SPARSE])
@pytest.mark.parametrize("found", ["there", None])
def test_a_row_is_written_as_the_shape_says(changed: dict[str, Any], found: str | None) -> None:
    row = SimpleNamespace(**{**ROW, **changed}, cluster_id=found, cluster_name=found, blade_id=found)
    shown = machine_rows._shown(cast(Any, row))
    boot = dict(shown["bootOptions"])
    boot["enterBiosSetup"] = boot.pop("enterBIOSSetup")
    described = Machine.model_validate({**shown, "bootOptions": boot}, strict=True)
    assert list(described.model_dump(by_alias=True)) == list(shown)
    assert json.loads(described.model_dump_json(by_alias=True)) == shown


def test_networks_are_in_the_order_of_their_adapters() -> None:
    row = SimpleNamespace(**ROW, cluster_id=None, cluster_name=None, blade_id=None)
    assert machine_rows._shown(cast(Any, row))["distributedVirtualPortGroupIds"] == ["first", "second"]
