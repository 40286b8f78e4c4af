"""`naos vm set` and `naos vm customise`: what is sent, and what is refused before anything is."""

from pathlib import Path

import pytest
from cli_platform import GIB, Cli, identifier, machine

ME = identifier(11)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.platform.lists["virtual_machines"] = [machine(11, "db")]
    return made


def test_set_sends_only_what_changes_each_to_its_place(cli: Cli) -> None:
    cli.ok("vm", "set", "db", "--cpus", "4", "--cpu-hot-add", "--no-memory-hot-add", "--reserve", "2GiB", "--nested")
    cli.ok("vm", "set", "db", "--firmware", "efi", "--no-secure-boot", "--boot-delay", "0", "--boot-retry", "0")
    cli.ok("vm", "set", "db", "--guest", "debian12_64Guest", "--extra", "disk.enableUUID=TRUE")
    cli.ok("vm", "set", "db", "--extra", "guestinfo.userdata=a=true", "--extra", "pciPassthru.64bitMMioSizeGB=64")
    sizes = {"id": ME, "cpu": 4, "memoryReservation": 2 * GIB, "hotCpuAdd": True, "hotMemAdd": False}
    boot = {"bootDelay": 0, "bootRetryEnabled": False, "firmware": "efi", "efiSecureBootEnabled": False}
    config = {"guestinfo.userdata": "a=true", "pciPassthru.64bitMMioSizeGB": 64}
    assert cli.bodies() == [
        ("PATCH", "/virtual_machines", {**sizes, "exposeHardwareVirtualization": True}),
        ("PATCH", "/virtual_machines", {"id": ME, "bootOptions": boot}),
        ("PATCH", f"/virtual_machines/{ME}/guest", {"guestOperatingSystemMoref": "debian12_64Guest"}),
        ("PATCH", f"/virtual_machines/{ME}/extra_config", {"disk.enableUUID": True}),
        ("PATCH", f"/virtual_machines/{ME}/extra_config", config),
    ]


def test_customise_sends_addresses_in_the_order_of_the_adapters(cli: Cli) -> None:
    options = ["--domain", "example.org", "--dns", "10.1.0.53", "--address", "10.1.0.7/24", "--address", "dhcp"]
    cli.ok("vm", "customise", "db", "--hostname", "front", *options, "--gateway", "10.1.0.1")
    adapter = {"ipAddress": "10.1.0.7", "subnetMask": "255.255.255.0", "gateway": "10.1.0.1"}
    network = {
        "hostname": "front",
        "domain": "example.org",
        "dnsServerList": ["10.1.0.53"],
        "dnsSuffixList": [],
        "adapters": [adapter, {}],
    }
    assert cli.bodies() == [("PATCH", f"/virtual_machines/{ME}/guest/customize", {"networkConfig": network})]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["set", "db"], "say what is to change"),
        (["set", "db", "--extra", "disk.enableUUID"], "KEY=VALUE"),
        (["customise", "db", "--hostname", "a", "--address", "10.1.0.7"], "with its prefix"),
        (["customise", "db", "--hostname", "a", "--gateway", "10.1.0.1"], "needs an --address"),
    ],
)
def test_what_cannot_work_is_a_usage_error(cli: Cli, command: list[str], words: str) -> None:
    assert words in cli.refused("vm", *command, code=2)
    assert cli.platform.writes() == []
