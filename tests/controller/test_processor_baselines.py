"""The processor baseline of cpools, on blades whose simulated processors differ."""

from typing import Any

from simulated_platform import COMPUTE, POWER, Platform

from naos.engines.errors import Unsupported

POOLS, HOSTS = f"{COMPUTE}/host_clusters", f"{COMPUTE}/hosts"
WHOLE = ["avx", "avx2", "fpu", "sse2"]


def _pool(platform: Platform) -> str:
    return f"{POOLS}/{platform.made['pool-AZ05']}"


def _processor(platform: Platform) -> dict[str, Any]:
    found: dict[str, Any] = platform.get(f"{_pool(platform)}/processor")
    return found


def _blade(platform: Platform, number: int) -> str:
    return str(platform.get(HOSTS, name=f"az05-blade{number}")[0]["id"])


def test_a_blade_that_has_less_lowers_the_baseline_for_starts_and_takes_no_guest_that_was_shown_more(
    roomy: Platform,
) -> None:
    platform = roomy
    assert _processor(platform)["features"] == WHOLE
    early = platform.deploy("early")
    faults = platform.rack.faults
    faults.give_processor("az05-blade3", "fpu", "sse2", "avx")
    faults.give_processor("az05-blade4", "fpu", "sse2", "avx", "avx2", "avx512f")
    platform.done("POST", f"{_pool(platform)}/hosts", {"hosts": 2})
    shown = _processor(platform)
    assert shown["features"] == ["avx", "fpu", "sse2"]
    beyond = {entry["host"]: entry["beyond"] for entry in shown["hosts"]}
    assert (beyond["az05-blade3"], beyond["az05-blade4"]) == ([], ["avx2", "avx512f"])
    (outdated,) = shown["outdated"]
    assert (outdated["virtualMachine"]["name"], outdated["beyond"], outdated["hosts"]) == (
        "early",
        ["avx2"],
        ["az05-blade3"],
    )
    # by hand: refused with the flag; the other new blade has all that the guest was shown
    body = {"virtualMachines": [early], "hostId": _blade(platform, 3), "priority": "highPriority"}
    error = platform.refused("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert "its processor lacks avx2" in error["message"]
    platform.done("POST", f"{COMPUTE}/virtual_machines/relocate", body | {"hostId": _blade(platform, 4)})
    # by maintenance: it never goes where a flag would be missing
    for number in (1, 2):
        platform.done("POST", f"{HOSTS}/{_blade(platform, number)}/maintenance")
    plan = platform.get(f"{HOSTS}/{_blade(platform, 4)}/maintenance")["plan"]
    assert plan["possible"] is False
    assert "its processor lacks what the guest was shown" in plan["stuck"][0]["reason"]
    # started anew it is shown the baseline, and goes anywhere
    platform.done("PATCH", POWER, {"id": early, "powerAction": "off"})
    platform.done("PATCH", POWER, {"id": early, "powerAction": "on"})
    assert _processor(platform)["outdated"] == []
    home = platform.machine(early)["host"]["name"]
    platform.done("POST", f"{HOSTS}/{_blade(platform, int(home[-1]))}/maintenance")
    assert {home, platform.machine(early)["host"]["name"]} == {"az05-blade3", "az05-blade4"}
    for number in (1, 2, int(home[-1])):
        platform.done("DELETE", f"{HOSTS}/{_blade(platform, number)}/maintenance")
    # the baseline rises again when the blade has left
    platform.remove(early)
    platform.done("DELETE", f"{_pool(platform)}/hosts/{_blade(platform, 3)}")
    assert _processor(platform)["features"] == WHOLE
    assert platform.settled() == []


def test_blades_with_nothing_in_common_are_no_cpool(roomy: Platform) -> None:
    roomy.rack.faults.give_processor("az06-blade3", "neon")
    reason = roomy.failed("POST", f"{POOLS}/{roomy.made['pool-AZ06']}/hosts", {"hosts": 1})
    assert "no feature in common" in reason
    assert len(roomy.get(f"{POOLS}/{roomy.made['pool-AZ06']}")["hosts"]) == 2
    assert roomy.settled() == []


def test_a_blade_that_cannot_tell_its_processor_joins_and_changes_nothing_of_the_baseline(roomy: Platform) -> None:
    refusal = Unsupported("az06-blade4", "telling its processor", "libvirt has no model for it")
    roomy.rack.faults.give_processor("az06-blade3", *WHOLE)
    for _ in range(2):  # when it is verified, and when the baseline is computed
        roomy.rack.faults.fail_next("hypervisor.processor", refusal, engine="az06-blade3")
    pool = f"{POOLS}/{roomy.made['pool-AZ06']}"
    roomy.done("POST", f"{pool}/hosts", {"hosts": 1})
    shown = roomy.get(f"{pool}/processor")
    assert (shown["features"], len(shown["hosts"])) == (WHOLE, 2)
    assert roomy.settled() == []
