"""What machines can be set to: rules by tables."""

import pytest

from naos.compute import configuration, guest_systems, rules
from naos.compute.configuration_errors import BootOptionRefused, NotWhileRunning, ReservationTooLarge
from naos.compute.configuration_wire import MachineUpdate
from naos.compute.machine_wire import tools_number
from naos.compute.models import Power, VirtualMachine
from naos.compute.sampling import Look, megahertz
from naos.units import MIB

BOOT = {
    "boot_delay": 0,
    "boot_retry": False,
    "boot_retry_delay": 10_000,
    "enter_setup": False,
    "firmware": "bios",
    "secure_boot": False,
}
EFI = {"firmware": "efi"}


def machine(**changes):
    values = {"cpu": 2, "memory": 512 * MIB, "cores_per_socket": 1, "power": Power.RUNNING, "guest_os": "otherGuest64"}
    values |= dict.fromkeys(("hot_add_cpu", "hot_remove_cpu", "hot_add_memory"), False)
    return VirtualMachine(name="one", **(values | changes))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"boot_delay": 65_535},
        {"boot_retry": True, "boot_retry_delay": 0},
        EFI,
        {**EFI, "secure_boot": True, "enter_setup": True, "boot_delay": 3000},
    ],
)
def test_boot_options_that_a_machine_can_have(change):
    configuration.check_boot("one", BOOT | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"boot_delay": 65_536}, "65535"),
        ({"boot_retry_delay": -1}, "milliseconds"),
        ({"secure_boot": True}, "needs the firmware efi"),
        ({"enter_setup": True}, "no setup"),
        ({**EFI, "boot_retry": True}, "does not start over"),
    ],
)
def test_boot_options_that_no_firmware_has_are_refused_with_the_remedy(change, words):
    with pytest.raises(BootOptionRefused) as refusal:
        configuration.check_boot("one", BOOT | change)
    assert words in str(refusal.value)


@pytest.mark.parametrize(("wanted", "memory", "pool"), [(513, 512, 1024), (1025, 2048, 1024)])
def test_no_more_is_reserved_than_there_is(wanted, memory, pool):
    configuration.check_reservation("one", min(memory, pool) * MIB, memory=memory * MIB, pool=pool * MIB)
    with pytest.raises(ReservationTooLarge):
        configuration.check_reservation("one", wanted * MIB, memory=memory * MIB, pool=pool * MIB)


@pytest.mark.parametrize(
    ("state", "change"),
    [
        ({}, {}),
        ({}, {"boot_delay": 10, "memory_reservation": MIB, "hot_remove_cpu": True, "enter_setup": True}),
        ({"hot_add_cpu": True}, {"cpu": 4}),
        ({"hot_remove_cpu": True}, {"cpu": 1}),
        ({"hot_add_memory": True}, {"memory": 1024 * MIB}),
        ({"power": Power.STOPPED}, {"cpu": 1, "memory": 64 * MIB, "cores_per_socket": 2, "firmware": "efi"}),
    ],
)
def test_what_a_machine_can_take_now(state, change):
    configuration.check_running(machine(**state), change)


@pytest.mark.parametrize(
    ("state", "change", "words"),
    [
        ({"hot_add_memory": True}, {"memory": 256 * MIB}, "less memory"),
        ({}, {"memory": 1024 * MIB}, "memoryHotAddEnabled"),
        ({}, {"cpu": 4}, "cpuHotAddEnabled"),
        ({"hot_add_cpu": True}, {"cpu": 1}, "cpuHotRemoveEnabled"),
        ({}, {"cores_per_socket": 2}, "2 instead of 1 cores per socket"),
        ({}, {"hot_add_cpu": True}, "switching hot add of CPUs on"),
        ({"hot_add_memory": True}, {"hot_add_memory": False}, "switching hot add of memory off"),
        ({}, EFI, "firmware efi"),
        ({}, {"secure_boot": True}, "secure boot on"),
        ({}, {"nested": True}, "nested virtualisation on"),
    ],
)
def test_what_a_running_machine_cannot_take_names_rule_and_remedy(state, change, words):
    with pytest.raises(NotWhileRunning) as refusal:
        configuration.check_running(machine(**state), change)
    assert words in str(refusal.value)
    assert "power it off first" in str(refusal.value)


def test_the_guest_of_a_running_machine_changes_among_its_kind_only():
    configuration.check_guest(machine(), "debian12_64Guest")
    configuration.check_guest(machine(power=Power.STOPPED), "windows9Server64Guest")
    with pytest.raises(NotWhileRunning):
        configuration.check_guest(machine(), "windows9Server64Guest")


def test_every_known_guest_has_a_family_and_a_name_of_its_own():
    known = guest_systems.guest_systems()
    assert {"vmwarePhoton64Guest", "ubuntu64Guest", "windows9Server64Guest", "amazonlinux2_64Guest"} <= set(known)
    assert len({found.full_name for found in known.values()}) == len(known) >= 50
    assert {found.family for found in known.values()} == {"linuxGuest", "windowsGuest", "solarisGuest", "otherGuest"}


def test_zero_and_absence_leave_what_there_is():
    body = {"id": "7f3c9f4e-0f5b-4d0a-9c58-0a4c3d1f2b11", "bootOptions": {"enterBIOSSetup": False, "bootDelay": 0}}
    changes = MachineUpdate.model_validate(body).changes()
    given = {key: value for key, value in changes.items() if value is not None}
    assert given == {"memory": 0, "cpu": 0, "cores_per_socket": 0, "boot_delay": 0, "enter_setup": False}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, Look(10.0, 10**9), 0),
        (Look(0.0, 0), Look(10.0, 5 * 10**9), 1000),
        (Look(0.0, 0), Look(10.0, 20 * 10**9), 4000),
        (Look(0.0, 10**9), Look(10.0, 0), 0),  # started anew
        (Look(10.0, 0), Look(10.0, 10**9), 0),
    ],
)
def test_use_of_processors_is_an_average_between_two_looks(before, now, expected):
    assert megahertz(before, now, mhz=2000) == expected


@pytest.mark.parametrize(("text", "number"), [("7.2.22", 7_002_022), ("8.1", 8_001_000), ("", 0), ("unknown", 0)])
def test_tools_have_a_number(text, number):
    assert tools_number(text) == number


@pytest.mark.parametrize(("firmware", "memory"), [("efi", 256 * MIB), ("efi", 1024 * MIB), ("bios", 32 * MIB)])
def test_a_firmware_that_can_load_a_kernel(firmware, memory):
    rules.check_firmware("one", firmware, memory)


def test_an_efi_machine_too_small_for_a_kernel_is_refused_with_figures_and_both_remedies():
    with pytest.raises(BootOptionRefused) as refusal:
        rules.check_firmware("one", "efi", 128 * MIB)
    for words in ("with 128 MiB", "give it 256 MiB or more", "the firmware bios"):
        assert words in str(refusal.value)
